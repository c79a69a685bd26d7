import numpy as np
import torch

from leaven.api.sample import sample
from leaven.data import Batch, DataSet
from leaven.data.sources import named
from leaven.errors import UserError
from leaven.experiments.claim import Arm, Claim, Found, Outcome, decided, few, over_seeds
from leaven.modalities import Vector, modality_of
from leaven.report.reproduction import line_figure

COUNTS = (10, 20, 40)
TIMES = (1, 2, 5, 10, 20)
CHOSEN = 5  # times as many are made as are kept, where only the good part is
BANDS = ((0.5, 4), (4, 8), (8, 13), (13, 30), (30, 60))  # Hz: delta, theta, alpha, beta, gamma
WINDOWS = 5
ALONE = "real alone"


class GanMadeData(Claim):
    says = (
        "A classifier with few real samples gains from samples that a GAN made of them, up to about ten times as many, and more from the good ones."
    )
    source = "Luo et al. 2020, Data Augmentation for Enhancing EEG-based Emotion Recognition with Deep Generative Models, section 4"
    rule = (
        f"With {COUNTS[0]} real samples a class of five kinds of EEG, and a support vector machine on band powers. Holds if ten times as many "
        "generated samples raise its test accuracy, and if as many chosen ones (a fifth of what was made: those that the classifier without them is "
        "surest of) raise it more than unchosen ones do, each with the whole 95 % interval over seeds above zero."
    )
    data = "bonn-eeg"
    train = 100_000
    test = 100_000
    protocols = ()
    seeds = 5
    steps = 3000
    minutes = 4

    def given(self, root):
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
        _, test, _, _ = samples.held_out()
        value = samples.rows["x"]
        numbers, labels = modality_of(value).numbers(value).flatten(1).numpy(), samples.rows.label.numpy()
        found = {}
        for count, run in zip(COUNTS, runs.values(), strict=True):
            rows = few(samples, count, seed).numpy()
            x, y = numbers[rows], labels[rows]
            alone = classifier(x, y)
            found[real(count)] = {ALONE: alone.score(numbers[test], labels[test])}
            names = samples.spec.class_names
            made = {label: flat(sample(run, CHOSEN * max(TIMES) * count, label=names[label], seed=seed)) for label in np.unique(y)}
            sure = {label: alone.decision_function(each)[:, list(alone.classes_).index(label)] for label, each in made.items()}
            for times in TIMES:
                for what in ("all", "chosen"):
                    kept = {
                        label: each[chosen(sure[label], times * count) if what == "chosen" else slice(times * count)] for label, each in made.items()
                    }
                    more = np.concatenate([x, *kept.values()]), np.concatenate([y, *(np.full(len(each), label) for label, each in kept.items())])
                    found[real(count)][added(times, what)] = classifier(*more).score(numbers[test], labels[test])
        return found

    def decide(self, found: Found):
        arm, plenty = real(COUNTS[0]), 10

        def gap(more, less):
            return over_seeds([first - second for first, second in zip(found.numbers(arm, more), found.numbers(arm, less), strict=True)])

        gains = gap(added(plenty, "all"), ALONE), gap(added(plenty, "chosen"), added(plenty, "all"))
        best = max(TIMES, key=lambda times: found.number(arm, added(times, "all"))["mean"])
        told = [f"{100 * found.number(arm, what)['mean']:.1f} % {what}" for what in (ALONE, added(plenty, "all"), added(plenty, "chosen"))]
        return Outcome(decided(*gains), f"with {arm}: {', '.join(told)}; most with {best} times as many.")

    def figure(self, found: Found):
        curves = {}
        for count in COUNTS:
            for what in ("all", "chosen"):
                points = [(0, ALONE), *((times, added(times, what)) for times in TIMES)]
                curves[f"{real(count)}, {what}"] = [(times, point(found.number(real(count), name))) for times, name in points]
        return line_figure(curves, "generated samples for each real one")


def band_powers(x, rate: float) -> torch.Tensor:
    """(segments, windows * bands) log powers of (segments, samples)."""
    from scipy.signal import welch

    parts = np.stack(np.array_split(x[:, : x.shape[1] // WINDOWS * WINDOWS], WINDOWS, axis=1), axis=1)
    frequency, power = welch(parts, rate, nperseg=256)
    bands = [power[..., (frequency >= low) & (frequency < high)].mean(-1) for low, high in BANDS]
    return torch.from_numpy(np.log(np.stack(bands, axis=-1)).reshape(len(x), -1).astype(np.float32))


def chosen(sure, count: int):
    """The surest of the first so many times as many as are kept."""
    return sure[: CHOSEN * count].argsort()[::-1][:count]


def flat(samples):
    return samples.reshape(len(samples), -1)


def classifier(x, y):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), SVC(decision_function_shape="ovr")).fit(x, y)


def point(number):
    return {"accuracy": number["mean"], "interval": number["interval"]}


def real(count: int) -> str:
    return f"{count} real samples a class"


def added(times: int, what: str) -> str:
    return f"and {times} times as many made, {what}"
