from leaven.experiments.claim import Arm, Claim

SETS = {
    "2 rotations (0°, 180°)": (0, 180),
    "2 rotations (90°, 270°)": (90, 270),
    "4 rotations": (0, 90, 180, 270),
    "8 rotations": tuple(range(0, 360, 45)),
}


class RotationAngles(Claim):
    says = "Telling four rotations apart teaches more than telling two or eight."
    source = "Gidaris et al. 2018, Unsupervised Representation Learning by Predicting Image Rotations, table 2"
    rule = (
        "All pictures are turned inside their inscribed circle, so that no corner shows the angle. Holds if four rotations score higher than both "
        "sets of two and than eight, each with the whole 95 % interval over seeds above zero."
    )
    batch = 128
    steps = 300
    minutes = 10
    contrasts = tuple(("4 rotations", name, "knn") for name in SETS if name != "4 rotations")

    def arms(self):
        return {name: Arm("rotation", {"angles": angles, "inside": True}) for name, angles in SETS.items()}
