"""Train a classifier on a few labels, from an encoder that learned without them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

from leaven.api import options
from leaven.api.open import describe_data, open_for, reading_of
from leaven.api.surgery import surgery, task_method
from leaven.console import Progress, Say, begun, quiet, seconds
from leaven.data import DataSet
from leaven.errors import UserError
from leaven.hyperparameters import hyperparameters
from leaven.methods.registry import find_method
from leaven.methods.supervised.finetune import Finetune
from leaven.report.story import report_run
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.training.distributed import rank
from leaven.training.pretraining import train as train_run
from leaven.training.request import Request
from leaven.training.supervision import beside_unlabeled, cross_validation, supervision


@options.documented
def finetune(
    run: options.RunFolder,
    data: options.Data,
    *,
    labels: options.Labels = None,
    out: Annotated[
        options.OptionalPath, "The classifier's folder (default leaven-runs/DATA-finetune). The same command goes on where it stopped."
    ] = None,
    unlabeled: Annotated[
        str | None, options.Option("The method by which the samples without labels teach as well: fixmatch, mean_teacher, noisy_student, ...")
    ] = None,
    task: Annotated[
        str | None,
        options.Option(
            "What is learned instead of classes of pictures: detection (boxes: COCO .json, VOC .xml, .csv) or segmentation (a folder of masks).",
            values=("detection", "segmentation"),
        ),
    ] = None,
    size: Annotated[options.Size, "With --task: short side of the whole pictures in pixels (default: their own, at most 240)."] = None,
    train: Annotated[
        str, options.Option("all, last:N or first:N (so many blocks of the encoder, and the classifier) or head (the classifier alone).")
    ] = "all",
    budget: Annotated[options.Budget, "How long: 90s, 10m, 2h (default: as long as suits the number of labels)."] = None,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    batch: options.Batch = None,
    all_labels: Annotated[
        bool | None,
        options.Option(
            "Also learn from the labels that `leaven evaluate` would test on, where there is no split (default: if too few are left without them).",
            flags=("--all-labels/--keep-labels",),
        ),
    ] = None,
    early_stopping: Annotated[
        bool | None, options.Option("Hold out a fifth of the labels to find the best step to end at (default: where there are enough labels).")
    ] = None,
    patience: Annotated[int, options.Option("End after this many looks at held-out labels without gain.", least=1)] = 10,
    role: options.Role = None,
    columns: options.Columns = None,
    groups: options.Groups = None,
    settings: Annotated[options.Settings, "A hyper-parameter: name=value, as rare_classes=weights; views. and recipe. reach into parts."] = None,
    seed: options.Seed = 0,
    precision: options.Precision = "auto",
    device: options.Device = "auto",
    devices: options.Devices = 1,
    accumulate: options.Accumulate = 1,
    data_root: options.Root = None,
    keep_going: options.KeepGoing = False,
    accept_data: options.AcceptData = False,
    track: options.Track = (),
    checkpoint_seconds: options.CheckpointSeconds = 60.0,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Run:
    """Train a classifier on a few labels, from a run's encoder.

    It learns from the labels of the train split; where there is no split, a fifth is kept for `evaluate`. With `unlabeled`, the samples of the train
    split that have no label teach too. With `task`, it learns what lies in whole pictures: boxes or masks. Returns the folder of what was learned,
    which is a run as well. Raises UserError for wrong input, such as a single class or data that the run's encoder does not read.
    """
    started = begun()
    if task is not None or size is not None:
        not_for_tasks = {"unlabeled": unlabeled, "early_stopping": early_stopping, "columns": columns, "groups": groups}
        if unfit := [name for name, value in not_for_tasks.items() if value is not None]:
            raise UserError(f"{unfit[0]} is for labels of whole samples", where=f"task {task}", hint=f"leave --{unfit[0].replace('_', '-')} out")
        request = Request(
            task_method(task), budget=seconds(budget), epochs=epochs, steps=steps, batch=batch, settings={"train": train, **(settings or {})},
            seed=seed, precision=precision, device=device, devices=devices, accumulate=accumulate, keep_going=keep_going, accept_data=accept_data,
            checkpoint_seconds=checkpoint_seconds, track=tuple(track), start_role=role,
        )  # fmt: skip
        return surgery(
            run, data, labels, None if out is None else Path(out), request, size=size, all_labels=all_labels, data_root=data_root, started=started,
            say=say, progress=progress,
        )  # fmt: skip
    reading, settings = reading_of(settings, samples=False)
    opened = open_for(run, data, role=role, labels=labels, columns=columns, groups=groups, data_root=data_root, reading=reading, progress=progress)
    describe_data(opened.data, say)
    samples = opened.data if list(opened.data.spec.inputs) == ["x"] else opened.data.with_role(opened.role, "x")
    used = supervision(samples, all_labels=all_labels, early_stopping=early_stopping)
    folder = Run(out or Path("leaven-runs") / f"{Path(samples.name).name.replace(':', '-')}-finetune")
    settings = dict(settings or {})
    if unlabeled is None:
        settings = {"train": train, **settings}
    else:
        used = beside_unlabeled(used, samples, unlabeled, train)
        if "probe_first" in hyperparameters(find_method(unlabeled)):
            settings.setdefault("probe_first", True)
    earlier = folder.config["asked"]["method"]["hyperparameters"] if folder.config_path.is_file() else {"folds": None}
    known = "folds" in earlier and not samples.spec.tag_names  # runs of earlier versions have no folds
    if unlabeled is None and known and not {"folds", "probe_first"} & settings.keys():
        length = steps or (epochs * len(used.members) / (batch or Finetune.recipe.batch) if epochs else None)
        settings["folds"], chosen = cross_validation(used, steps=length, budget=seconds(budget))
        used = replace(used, choices=[*used.choices, *chosen])
    if labels is not None and not labels_to_test_on(samples):
        own = open_for(run, data, role=role, columns=columns, groups=groups, data_root=data_root, progress=progress).data
        same = labels_to_test_on(own) and set(own.spec.names) <= set(samples.spec.names)
        choice = {"what": "test labels", "value": "the data's own" if same else "none", "why": "the labels that were given name no sample to test on"}
        used = replace(used, choices=[*used.choices, choice])
    request = Request(
        unlabeled or "finetune", opened.run, budget=seconds(budget), epochs=epochs, steps=steps, batch=batch, settings=settings,
        seed=seed, precision=precision, device=device, devices=devices, accumulate=accumulate, keep_going=keep_going, accept_data=accept_data,
        checkpoint_seconds=checkpoint_seconds, track=tuple(track), start_role=opened.encoder.role, patience=patience,
    )  # fmt: skip
    classifier = train_run(request, samples, folder, supervision=used, started=started, say=say, progress=partial(progress, "step"))
    if rank() == 0:
        report_run(classifier, samples, device=choose_device(device))
    return classifier


def labels_to_test_on(data: DataSet) -> bool:
    """Whether samples of the val or test split have a label; true where there is no such split, and a part of the labels is kept."""
    parts = [data.splits[name] for name in ("val", "test") if name in data.splits]
    return not parts or any(data.rows.labeled[part].any() for part in parts)
