import copy

import torch

from leaven.data import Batch, DataSet
from leaven.draw import Draw
from leaven.errors import UserError
from leaven.evaluation.floors import trained_on_labels
from leaven.experiments.claim import Arm, Claim, few_per_class
from leaven.report.reproduction import bar_figure
from leaven.training.trained import data_role, load_encoder_of
from leaven.views.corruptions import SEVERITIES, corruptions_of

FIRST, LAST = "first block", "last block"
DEPTHS = {"classifier alone": "head", LAST: "last:1", FIRST: "first:1", "all blocks": "all"}
NOISY, RENAMED = "accuracy on noisy pictures", "accuracy on renamed classes"
FEW = (50,)  # labels per class of the shifted data
TUNED = 200  # steps


class FreezingDepth(Claim):
    says = "The best depth to freeze depends on the shift: the first block must learn when inputs change, and the last one when classes do."
    source = "Lee et al. 2023, Surgical Fine-Tuning Improves Adaptation to Distribution Shifts, figure 2 and table 1 (CIFAR-C and CIFAR-Flip)"
    rule = (
        f"A network learns all classes of clean pictures. It is then fine-tuned with {FEW[0]} labels per class, one block and a new classifier: "
        "on pictures with noise (severity 5), and on clean ones whose classes are others than before: two old classes make a new one. Holds if the "
        "first block is better than the last one on noisy pictures and the last one better on new classes, each with the whole 95 % interval over "
        "seeds above zero; does not hold if one of the two is reversed with its whole interval."
    )
    protocols = ()
    steps = 600
    batch = 128
    train = 20_000
    test = 2_000
    minutes = 15
    contrasts = ((FIRST, LAST, NOISY), (LAST, FIRST, RENAMED))

    def arms(self):
        return {"clean pictures": Arm("supervised")}

    def measure(self, runs, samples, seed):
        (run,) = runs.values()
        encoder = load_encoder_of(run)
        role = data_role(samples.spec, encoder)
        known = corruptions_of(samples.rows[role].modality)
        if "noise" not in known:
            raise UserError("this claim needs samples that can be made noisy, such as pictures", where=samples.name)
        few, test = few_per_class(samples, FEW[0], seed), samples.held_out()[1]
        test = test[samples.rows.label[test] >= 0]
        rows, label = torch.cat([few, test]), samples.rows.label
        clean = samples.rows[role][rows]
        renamed = label[rows] % max(2, samples.spec.classes // 2)
        versions = {NOISY: (known["noise"](clean, SEVERITIES, Draw(seed, "noise")), label[rows]), RENAMED: (clean, renamed)}
        names = samples.spec.class_names
        shifted = {name: DataSet.of(name, Batch.of(x=value, label=labels), class_names=names) for name, (value, labels) in versions.items()}
        return {depth: {name: accuracy(encoder, data, len(few), train, seed) for name, data in shifted.items()} for depth, train in DEPTHS.items()}

    def figure(self, findings):
        bars = {f"{depth} ({name.removeprefix('accuracy on ')})": findings.number(depth, name) for name in (NOISY, RENAMED) for depth in DEPTHS}
        return bar_figure(bars, "test accuracy")


def accuracy(encoder, data, learned, train, seed):
    """On the samples after the first `learned` ones, from which a copy of the encoder learns in this depth."""
    rows, settings = torch.arange(len(data)), {"train": train, "interpolation": 1.0, "layer_decay": 1.0}
    logits = trained_on_labels(encoder, data, rows[:learned], rows[learned:], seed=seed, steps=TUNED, start=copy.deepcopy(encoder), settings=settings)
    return (logits.argmax(1) == data.rows.label[rows[learned:]]).double().mean().item()
