from leaven.experiments.claim import PRECISION, Arm, Claim, features_of, search_precision
from leaven.modalities import modality_of

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
        value = samples.rows["x"]
        pixels = modality_of(value).raw_features(value, samples.train())
        return search_precision({CODES: features_of(runs[CODES]), PIXELS: pixels}, samples)
