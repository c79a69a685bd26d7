"""Generated samples with labels beside the real ones, as data to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from leaven.api import options
from leaven.api.open import Opened, open_for
from leaven.console import Progress, Say, quiet
from leaven.data.writing import Written, about_rows, write_data
from leaven.errors import UserError
from leaven.evaluation.abilities import new_samples, open_method
from leaven.evaluation.augmentation import MOST, Labeled, classifier, distance_in_words, gain_of_generated, sureness, surest, told_apart, verdict
from leaven.evaluation.classifier import in_terms_of
from leaven.methods.method import Method
from leaven.modalities import InputSpec, Value, modality_of
from leaven.modalities.content import spread
from leaven.modalities.modality import fitted
from leaven.report.augmentation import write_augmentation
from leaven.run import Run, whole_folder, write_json
from leaven.training.devices import choose_device
from leaven.training.supervision import learned_hashes

REAL, GENERATED, REPORT = "real", "generated", "report.html"
NO_TEST = "give data with folders or a column of splits; `leaven embed input DATA --out features.npz` writes one that has them"


@dataclass(frozen=True)
class Augmented:
    """out: the folder, which other commands read as DATA. real, generated, left_out: how many samples of the train part these are. told_apart: see
    `evaluation.augmentation`. helps: test accuracies with and without generated samples, and their difference. report: the page."""

    out: str
    real: int
    generated: int
    left_out: int
    told_apart: float
    helps: dict[str, Any]
    sentence: str
    report: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@options.documented
def augment(
    data: options.Data,
    by: options.GeneratorRun,
    *,
    out: Annotated[options.RequiredPath, "A new folder for the data, and a page about it."] = None,
    times: Annotated[int, options.Option("Generated samples for each real one of a class.", least=1)] = 10,
    select: Annotated[float, options.Option("Share of them that is kept: those that a classifier of the real ones is surest of.")] = 1.0,
    labels: options.Labels = None,
    columns: options.Columns = None,
    groups: options.Groups = None,
    seed: options.Seed = 0,
    method: options.OwnMethod = None,
    device: options.Device = "auto",
    data_root: options.Root = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Augmented:
    """Write generated samples with labels beside the real ones, as data to learn from, and say whether they help.

    The labeled samples of DATA are written as its run reads them, with their splits; generated ones stand in the train split alone. Pictures become
    class folders, other samples an .npz file with x, y, split, group and `generated`. Raises UserError where the run makes no samples of a class,
    where it has learned from test samples, where there is no test split to tell whether samples help, and where something lies in `out`.
    """
    if out is None:
        raise UserError("augment needs a folder to write to", hint="give out (--out FOLDER)")
    if times < 1 or not 0 < select <= 1:
        raise UserError(f"times must be 1 or more, and select above 0 and at most 1; not {times} and {select:g}")
    run, chosen_device = Run.open(by), choose_device(device)
    generator = open_method(run, "sample", method)
    if not generator.learns_labels:
        hint = "train conditional_gan, wgan_gp with --set conditional=true, or diffusion of labeled pictures"
        raise UserError(f"{generator.name} of this run makes no samples of a class", where=run.path, hint=hint)
    opened = open_for(
        run, data, encoder=generator.encoder, labels=labels, columns=columns, groups=groups, data_root=data_root, say=say, progress=progress
    )
    names = tuple(run.config["asked"]["data"]["spec"]["class_names"])
    class_of = in_terms_of(opened.data, names)
    train, test, held_out = labeled_parts(opened, class_of, run)
    counts = class_of[train].bincount(minlength=len(names))
    wanted = torch.repeat_interleave(torch.arange(len(names)), times * counts)
    value, read = opened.samples, generator.encoder.input
    learned = spread(train, max(1, MOST // (1 + times)))
    sample = fitted(value[learned], read)
    raw = modality_of(value).raw_features(sample, torch.arange(len(sample)))
    real, tested = (Labeled(features(raw, value, rows, read), class_of[rows]) for rows in (learned, test))
    place, source = Path(out), str(data) if isinstance(data, str | Path) else opened.data.name
    with whole_folder(place) as folder:
        spool = folder / "generated.partial.npy"
        say(f"generating {len(wanted):,} samples of {int((counts > 0).sum())} classes")
        samples = spooled(spool, generator, wanted, seed, chosen_device, progress)
        kept = chosen(real, raw, samples, wanted, select)
        left_out = torch.ones(len(wanted), dtype=torch.bool)
        left_out[kept] = False
        write_data(folder, written(opened, train, held_out, samples, kept, [names[label] for label in wanted[kept].tolist()]))
        say("asking a classifier whether they help")
        shown, rejected = (spread(rows, max(1, len(learned) * len(rows) // len(train))) for rows in (kept, left_out.nonzero().flatten()))
        new, refused = (Labeled(features(raw, samples, rows, read), wanted[rows]) for rows in (shown, rejected))
        test_groups = opened.data.groups[test]
        helps = gain_of_generated(real, new, tested, groups=test_groups if (test_groups >= 0).any() else None, seed=seed)
        share = told_apart(real.x, new.x)
        sentence = f"{verdict(helps)} {distance_in_words(share)}"
        result = Augmented(str(place), len(train), len(kept), int(left_out.sum()), share, helps, sentence, str(place / REPORT))
        kinds = {REAL: real, GENERATED: new, "left out": refused}
        write_augmentation(folder / REPORT, result.to_dict(), names, run=str(run.path), data=source, kinds=kinds)
        del samples  # whose file is removed
        spool.unlink()
        write_json(folder / "augmented.json", {"format": 1, "run": str(run.path), "times": times, "select": select, "seed": seed, **result.to_dict()})
    return result


def labeled_parts(opened: Opened, class_of: Tensor, run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """The labeled rows to train on, those that are tested on, and all beside those to train on. UserError where none tell whether samples help."""
    data, labeled = opened.data, class_of >= 0
    name = data.own_test()
    if name is None:
        raise UserError("this data has no test split, and without one nobody can tell whether generated samples help", where=data.name, hint=NO_TEST)
    to_train_on = torch.zeros(len(data), dtype=torch.bool)
    to_train_on[data.train()] = True
    train, rest = ((part & labeled).nonzero().flatten() for part in (to_train_on, ~to_train_on))
    test = data.splits[name][labeled[data.splits[name]]]
    if not len(train) or not len(test):
        raise UserError("labels are needed in the train split and in the test split", where=data.name, hint="say where they are with --labels")
    if seen := int(torch.isin(data.hashes[test], learned_hashes(run)).sum()):
        what = f"this run has learned from {seen:,} of the {len(test):,} test samples, so that its own samples give their labels away"
        raise UserError(what, where=run.path, hint="train it on data with the same splits")
    return train, test, rest


def written(opened: Opened, train: Tensor, held_out: Tensor, samples: Value, kept: Tensor, labels: list[str]) -> list[Written]:
    """Real samples with their splits, and generated ones to learn from."""
    rows = torch.cat([train, held_out])
    about = about_rows(opened.data, rows)
    about["split"][: len(train)] = ["train"] * len(train)
    read = opened.encoder.input
    return [
        Written(REAL, opened.samples, rows, read, **about),
        Written(GENERATED, samples, kept, read, labels, ["train"] * len(kept), [-1] * len(kept)),
    ]


def spooled(path: Path, method: Method, wanted: Tensor, seed: int, device: str, progress: Progress) -> Value:
    """New samples of these classes, mapped from a file, so that memory does not grow with their number."""
    modality, spec, file, done = method.encoder.modality, method.encoder.input, None, 0
    for block in new_samples(method, len(wanted), wanted, seed=seed, device=device):
        numbers = modality.numbers(block).numpy()
        if file is None:
            file = np.lib.format.open_memmap(path, "w+", np.float32, (len(wanted), *numbers.shape[1:]))
        file[done : done + len(numbers)] = numbers
        done += len(numbers)
        progress("generated", done, len(wanted))
    assert file is not None
    file.flush()
    return modality.of_numbers(torch.from_numpy(np.load(path, mmap_mode="c")), spec)


def features(raw: Any, value: Value, rows: Tensor, read: InputSpec) -> Tensor:
    """The raw input of these rows, as the generator reads it."""
    return torch.cat([raw(fitted(value[part], read)).float() for part in rows.split(500)]) if len(rows) else torch.empty(0, 0)


def chosen(real: Labeled, raw: Any, samples: Value, wanted: Tensor, select: float) -> Tensor:
    """The places of generated samples that are kept, in order."""
    if select == 1:
        return torch.arange(len(wanted))
    judge = classifier(real.x.numpy(), real.y.numpy())
    return torch.cat(list(surest_of_classes(judge, raw, samples, wanted, select))).sort().values


def surest_of_classes(judge: Any, raw: Any, samples: Value, wanted: Tensor, select: float) -> Iterator[Tensor]:
    for label in wanted.unique().tolist():
        rows = (wanted == label).nonzero().flatten()
        sure = np.concatenate([sureness(judge, raw(samples[part]).numpy(), label) for part in rows.split(500)])
        yield rows[torch.from_numpy(surest(sure, max(1, round(select * len(rows)))).copy())]
