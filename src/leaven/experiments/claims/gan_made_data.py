import numpy as np
import torch

from leaven.data import Batch, DataSet
from leaven.data.sources import named
from leaven.errors import UserError
from leaven.evaluation.augmentation import classifier, sureness, surest
from leaven.evaluation.results import mean_of_numbers
from leaven.experiments.claim import Arm, Claim, Findings, Outcome, few_per_class, generated, numbers_of, verdict_of
from leaven.modalities import Vector
from leaven.report.reproduction import line_figure

COUNTS = (10, 20, 40)
TIMES = (1, 2, 5, 10, 20)
CHOSEN = 5  # times as many are generated as are kept, where only the good part is kept
PARTS = ("all", "chosen")
BANDS = ((0.5, 4), (4, 8), (8, 13), (13, 30), (30, 60))  # Hz: delta, theta, alpha, beta, gamma
WINDOWS = 5
ALONE = "real alone"


class GanMadeData(Claim):
    says = "A classifier with few real samples gains from samples of a GAN, up to about ten times as many, and gains more from the good ones."
    source = "Luo et al. 2020, Data Augmentation for Enhancing EEG-based Emotion Recognition with Deep Generative Models, section 4"
    rule = (
        f"A support vector machine learns five kinds of EEG from the band powers of {COUNTS[0]} real samples per class. Holds if ten times as many "
        "generated samples raise its test accuracy, and if as many chosen ones (a fifth of what was generated: those that the classifier without "
        "them is surest of) raise it more than unchosen ones do, each with the whole 95 % interval over seeds above zero."
    )
    data = "bonn-eeg"
    train = 100_000
    test = 100_000
    protocols = ()
    seeds = 5
    steps = 3000
    minutes = 4

    def open(self, root):
        """Logarithms of the power in five bands, in each of five parts of a segment; half of the segments of each class are kept for testing."""
        folder = named.find_folder(self.data, named.data_root(root))
        if folder is None or not (folder / "bonn-eeg.npz").is_file():
            raise UserError("the Bonn EEG segments are not here", where=self.data, hint="set LEAVEN_DATA to a folder that has bonn-eeg/bonn-eeg.npz")
        with np.load(folder / "bonn-eeg.npz") as stored:
            x, y, rate = stored["x"], stored["y"], float(stored["fs"])
        rows, odd = torch.arange(len(y)), torch.arange(len(y)) % 2 == 1
        splits = {"train": rows[~odd], "test": rows[odd]}
        return DataSet.of(self.data, Batch.of(x=Vector(band_powers(x, rate)), label=torch.from_numpy(y)), splits=splits, class_names=tuple("ZONFS"))

    def arms(self):
        return {real(count): Arm("wgan_gp", {"conditional": True, "recipe.lr": 5e-4}, per_class=count) for count in COUNTS}

    def measure(self, runs, samples, seed):
        return {real(count): self.accuracies(runs[real(count)], count, samples, seed) for count in COUNTS}

    def accuracies(self, run, count, samples, seed):
        """Of classifiers: of the real samples alone, and with generated ones."""
        rows, test = few_per_class(samples, count, seed), samples.held_out()[1]
        (x, y), scored = ((numbers_of(samples.rows["x"][part]).numpy(), samples.labels[part].numpy()) for part in (rows, test))
        alone = classifier(x, y)
        accuracies = {ALONE: alone.score(*scored)}
        new = {label: generated(run, CHOSEN * max(TIMES) * count, seed, int(label)).numpy() for label in np.unique(y)}
        sure = {label: sureness(alone, rows, label) for label, rows in new.items()}
        for times in TIMES:
            wanted = times * count
            for part in PARTS:
                places = {label: surest(sure[label][: CHOSEN * wanted], wanted) if part == "chosen" else slice(wanted) for label in new}
                kept = {label: rows[places[label]] for label, rows in new.items()}
                more = np.concatenate([x, *kept.values()]), np.concatenate([y, *(np.full(len(rows), label) for label, rows in kept.items())])
                accuracies[added(times, part)] = classifier(*more).score(*scored)
        return accuracies

    def decide(self, findings: Findings):
        arm, alone, plenty, best = real(COUNTS[0]), ALONE, added(10, "all"), added(10, "chosen")

        def gap(more, less):
            pairs = zip(findings.numbers(arm, more), findings.numbers(arm, less), strict=True)
            return mean_of_numbers([first - second for first, second in pairs])

        most = max(TIMES, key=lambda times: findings.number(arm, added(times, "all"))["mean"])
        accuracies = ", ".join(f"{100 * findings.number(arm, measure)['mean']:.1f} % {measure}" for measure in (alone, plenty, best))
        return Outcome(verdict_of(gap(plenty, alone), gap(best, plenty)), f"with {arm}: {accuracies}; {most} times as many give most.")

    def figure(self, findings: Findings):
        def points(arm, part):
            measures = {0: ALONE, **{times: added(times, part) for times in TIMES}}
            return [(times, findings.number(arm, measure)) for times, measure in measures.items()]

        curves = {f"{real(count)}, {part}": points(real(count), part) for count in COUNTS for part in PARTS}
        return line_figure(curves, "generated samples for each real one")


def band_powers(x, rate: float) -> torch.Tensor:
    """(segments, windows * bands) log powers of (segments, samples)."""
    from scipy.signal import welch

    parts = np.stack(np.array_split(x[:, : x.shape[1] // WINDOWS * WINDOWS], WINDOWS, axis=1), axis=1)
    frequency, power = welch(parts, rate, nperseg=256)
    bands = [power[..., (frequency >= low) & (frequency < high)].mean(-1) for low, high in BANDS]
    return torch.from_numpy(np.log(np.stack(bands, axis=-1)).reshape(len(x), -1).astype(np.float32))


def real(count: int) -> str:
    return f"{count} real samples per class"


def added(times: int, part: str) -> str:
    return f"and {times} times as many generated, {part}"
