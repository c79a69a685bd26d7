import torch

from leaven.data import Batch, DataSet
from leaven.data.sources.shapes import COLOURS, PLACES, SHAPES, caption, drawn
from leaven.draw import Draw
from leaven.errors import UserError
from leaven.evaluation.class_texts import Senses, class_likeness, class_vectors
from leaven.evaluation.features import encode
from leaven.evaluation.frozen import Features
from leaven.evaluation.protocols.linear import linear_probe
from leaven.experiments.claim import Arm, Claim
from leaven.modalities import Pixels, Strings, Text
from leaven.report.reproduction import bar_figure
from leaven.training.trained import data_role, load_encoders, shared_space
from leaven.views.corruptions import corruptions_of

ZERO_SHOT, PROBE = "zero-shot", "linear probe"
CLEAN, STYLE, KEPT = "clean", "second style", "share kept"
SHIFTS, SEVERITY = ("jpeg", "blur", "noise"), 5
TRAIN, TEST = 2000, 500  # pictures of each style
TEMPLATES = tuple(caption(place, "large", colour, "{}", "grey") for colour in COLOURS for place in PLACES)


class ZeroShotShift(Claim):
    says = "When pictures change, classes that are named by sentences keep more of their accuracy than a linear probe that has learned from labels."
    source = "Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision, section 3.3 and figure 13"
    rule = (
        "CLIP learns from drawn shapes with captions, in two styles that captions do not name: filled and striped. The probe learns the shape from "
        "the labels of filled ones, by the features of the same encoder. Test pictures are compressed, blurred or noisy (severity 5), or striped. "
        "Holds if the share of the accuracy on clean pictures that is left, on average over these, is larger for zero-shot than for the probe, with "
        "the whole 95 % interval over seeds above zero; does not hold if it is smaller with the whole interval."
    )
    data = "demo:shapes"
    protocols = ()
    steps = 400
    minutes = 15
    contrasts = ((ZERO_SHOT, PROBE, KEPT),)

    def open(self, root):
        """Pairs of both styles; the striped test pictures are beside the test part, and only filled ones have labels to learn from."""
        filled, striped = (drawn(TRAIN, TEST, 0, seed=number, striped=number == 1) for number in range(2))
        worlds, styles = (filled, striped), ("filled", "striped")
        label = torch.tensor([SHAPES.index(shape) for world in worlds for shape in world.shapes])
        split = [(name, style) for world, style in zip(worlds, styles, strict=True) for name in world.splits]
        label[[row for row, part in enumerate(split) if part == ("train", "striped")]] = -1
        parts = {"train": [("train", style) for style in styles], "test": [("test", "filled")], "other": [("test", "striped")]}
        pictures, captions = torch.cat([world.pictures for world in worlds]), [text for world in worlds for text in world.captions]
        rows = Batch.of(image=Pixels(pictures), text=Text(Strings.of(captions)), label=label)
        splits = {name: torch.tensor([row for row, part in enumerate(split) if part in kinds]) for name, kinds in parts.items()}
        return DataSet.of(self.data, rows, splits=splits, class_names=SHAPES)

    def arms(self):
        return {ZERO_SHOT: Arm("clip", {"encoder.text.width": 128, "encoder.text.depth": 2, "views.image.flip": 0})}

    def measure(self, runs, samples, seed):
        run = runs[ZERO_SHOT]
        senses, labels = Senses.of(load_encoders(run), run.path), samples.rows.label
        pictures = samples.rows[data_role(samples.spec, senses.other)]
        beside = samples.splits.get("other", samples.train()[:0])
        train, test, style = (rows[labels[rows] >= 0] for rows in (samples.train(), samples.held_out()[1], beside))
        if not len(train) or not len(test):
            raise UserError("labels are needed on the training side and on the test side", where=samples.name)
        known, clean = corruptions_of(pictures.modality), pictures[test]
        versions = {CLEAN: (clean, test)} | {name: (known[name](clean, SEVERITY, Draw(seed, name)), test) for name in SHIFTS}
        versions |= {STYLE: (pictures[style], style)} if len(style) else {}
        project = shared_space(run)
        classes = class_vectors(senses.text, project, samples.spec.class_names, TEMPLATES, "cpu")
        tested = [encode(senses.other, value, torch.arange(len(value))) for value, _ in versions.values()]
        truth = [labels[rows] for _, rows in versions.values()]
        learned = Features(encode(senses.other, pictures, train), labels[train], torch.cat(tested), torch.cat(truth), seed=seed)
        probed = linear_probe(learned, seed=seed).predictions.split([len(part) for part in tested])
        named = [class_likeness(senses.other, project, part, classes).argmax(1) for part in tested]
        return {arm: accuracies(versions, predictions, truth) for arm, predictions in ((ZERO_SHOT, named), (PROBE, probed))}

    def figure(self, findings):
        measures = next(iter(findings.measures.values()))[ZERO_SHOT]
        bars = {f"{arm} ({name})": findings.number(arm, name) for name in measures if name != KEPT for arm in (ZERO_SHOT, PROBE)}
        return bar_figure(bars, "share of test pictures named correctly")


def accuracies(versions, predictions, truth):
    """By version, and how much of that of clean pictures is left on average over the others."""
    shares = [(guess == right).float().mean().item() for guess, right in zip(predictions, truth, strict=True)]
    kept = sum(shares[1:]) / len(shares[1:]) / max(shares[0], 1e-9)
    return dict(zip(versions, shares, strict=True)) | {KEPT: kept}
