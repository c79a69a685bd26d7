from leaven.evaluation.features import encode
from leaven.experiments.claim import PRECISION, Arm, Claim, search_precision
from leaven.training.trained import load_encoder_of

NUMBERS = 256
CODES, PIXELS = f"codes of {NUMBERS} numbers", "pixels"


class CodesRetrieve(Claim):
    says = "The codes of a deep auto-encoder find pictures of the same kind better than pixels do."
    source = "Krizhevsky and Hinton 2011, Using Very Deep Autoencoders for Content-Based Image Retrieval, section 4"
    rule = (
        f"Holds if the mean average precision of a search by the cosine of {NUMBERS} numbers is higher than that of a search by the cosine of "
        "pixels, with the whole 95 % interval over seeds; does not hold if it is lower with the whole interval. Pictures of one class are relevant."
    )
    data = "FashionMNIST"
    test = 2_000
    protocols = ()
    steps = 1500
    minutes = 6
    contrasts = ((CODES, PIXELS, PRECISION),)

    def arms(self):
        return {CODES: Arm("deep_autoencoder", {"widths": (1024, 512, NUMBERS)})}

    def measure(self, runs, samples, seed):
        value, encoder = samples.rows["x"], load_encoder_of(runs[CODES])
        pixels = encoder.modality.raw_features(value, samples.train())
        return search_precision({CODES: lambda rows: encode(encoder, value, rows), PIXELS: lambda rows: pixels(value.take(rows))}, samples)
