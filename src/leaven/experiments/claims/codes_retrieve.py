from leaven.evaluation.features import encode
from leaven.evaluation.retrieval import retrieval
from leaven.experiments.claim import FAILS, HOLDS, UNDECIDED, Arm, Claim, Found, Outcome, sign
from leaven.report.reproduction import numbers_figure
from leaven.training.trained import load_encoder_of

NUMBERS = 256
CODES, PIXELS = f"codes of {NUMBERS} numbers", "pixels"
PRECISION = "mean average precision"


class CodesRetrieve(Claim):
    says = "The codes of a deep auto-encoder find pictures of the same kind better than pixels do."
    source = "Krizhevsky and Hinton 2011, Using Very Deep Autoencoders for Content-Based Image Retrieval, section 4"
    rule = (
        f"Holds if the mean average precision of searching by the cosine of {NUMBERS} numbers is higher than by that of pixels, with the whole 95 % "
        "interval over seeds; does not hold if it is lower likewise. Relevant is what is of the same class."
    )
    data = "FashionMNIST"
    train = 20_000
    test = 2_000
    protocols = ()
    steps = 1500
    minutes = 6

    def arms(self):
        return {CODES: Arm("deep_autoencoder", {"widths": (1024, 512, NUMBERS)})}

    def measure(self, runs, samples, seed):
        _, test, _, _ = samples.held_out()
        train, value, labels = samples.train(), samples.rows["x"], samples.rows.label
        encoder = load_encoder_of(runs[CODES])
        pixels = encoder.modality.raw_features(value, train)
        features = {CODES: lambda rows: encode(encoder, value, rows), PIXELS: lambda rows: pixels(value.take(rows))}
        found = {name: retrieval(of(train), labels[train], of(test), labels[test]) for name, of in features.items()}
        return {name: {PRECISION: score["map"]} for name, score in found.items()}

    def decide(self, found: Found):
        verdict = {1: HOLDS, -1: FAILS, 0: UNDECIDED}[sign(found.gap(CODES, PIXELS, PRECISION))]
        first, second = (found.number(arm, PRECISION)["mean"] for arm in (CODES, PIXELS))
        return Outcome(verdict, f"{PRECISION}: {first:.3f} by {CODES}, {second:.3f} by {PIXELS}.")

    def figure(self, found: Found):
        return numbers_figure({arm: found.number(arm, PRECISION) for arm in (CODES, PIXELS)}, PRECISION)
