from leaven.experiments.claim import Arm, Claim

PLAIN, SATURATING = "maximise log D (non-saturating)", "minimise log(1 - D) (saturating)"
EARLY = "distance of the samples from the data, early"
DISTANCE = "sample_distance"


class SaturatingLoss(Claim):
    says = "A generator that minimises log(1 - D) learns little at first: its gradient vanishes while its samples are easy to tell from the data."
    source = "Goodfellow et al. 2014, Generative Adversarial Networks, section 3, last paragraph"
    rule = (
        "Holds if over the first fifth of the training the energy distance between generated samples and the data is on average larger with the "
        "saturating loss, with the whole 95 % interval over seeds above zero; does not hold if it is smaller with the whole interval."
    )
    data = "MNIST"
    train = 20_000
    test = 1_000
    protocols = ()
    batch = 128
    steps = 3000
    minutes = 2
    contrasts = ((SATURATING, PLAIN, EARLY),)
    panels = {"energy distance between samples and data (0: alike, 1: two points)": DISTANCE}

    def arms(self):
        return {PLAIN: Arm("gan"), SATURATING: Arm("gan", {"saturating": True})}

    def measure_run(self, run, samples, seed):
        distances = [row[DISTANCE] for row in run.metrics if DISTANCE in row]
        early = distances[: max(1, len(distances) // 5)]
        return {EARLY: sum(early) / len(early)}
