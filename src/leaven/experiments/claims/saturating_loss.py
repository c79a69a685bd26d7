from leaven.experiments.claim import FAILS, HOLDS, UNDECIDED, Arm, Claim, Found, Outcome, sign
from leaven.report.reproduction import curves_figure

PLAIN, SATURATING = "maximise log D (non-saturating)", "minimise log(1 - D) (saturating)"
EARLY = "distance of the samples from the data, early"
DISTANCE = "sample_distance"


class SaturatingLoss(Claim):
    says = (
        "A generator that minimises log(1 - D) learns little at first, because its gradient vanishes while its samples are easily told from the data."
    )
    source = "Goodfellow et al. 2014, Generative Adversarial Networks, section 3, last paragraph"
    rule = (
        "Holds if over the first fifth of the training the energy distance between generated samples and the data is on average larger with the "
        "saturating loss, with the whole 95 % interval over seeds above zero; does not hold if it is smaller likewise."
    )
    data = "MNIST"
    train = 20_000
    test = 1_000
    protocols = ()
    batch = 128
    steps = 3000
    minutes = 2

    def arms(self):
        return {PLAIN: Arm("gan"), SATURATING: Arm("gan", {"saturating": True})}

    def measure(self, runs, samples, seed):
        return {arm: {EARLY: early(run.metrics)} for arm, run in runs.items()}

    def decide(self, found: Found):
        verdict = {1: HOLDS, -1: FAILS, 0: UNDECIDED}[sign(found.gap(SATURATING, PLAIN, EARLY))]
        first, second = (found.number(arm, EARLY)["mean"] for arm in (SATURATING, PLAIN))
        ends = {arm: sum(looks(cell.metrics)[-1][1] for cell in found.of(arm)) / len(found.seeds) for arm in (SATURATING, PLAIN)}
        return Outcome(verdict, f"{EARLY}: {first:.3f} saturating, {second:.3f} not; in the end {ends[SATURATING]:.3f} and {ends[PLAIN]:.3f}.")

    def figure(self, found: Found):
        curves = {arm: [looks(cell.metrics) for cell in found.of(arm)] for arm in (PLAIN, SATURATING)}
        return curves_figure({"energy distance between samples and data (0: alike, 1: two points)": curves})


def looks(metrics):
    """(step, distance) wherever it was taken."""
    return [(row["step"], row[DISTANCE]) for row in metrics if DISTANCE in row]


def early(metrics):
    """The mean over the first fifth of the looks, one at least."""
    distances = [distance for _, distance in looks(metrics)]
    first = distances[: max(1, len(distances) // 5)]
    return sum(first) / len(first)
