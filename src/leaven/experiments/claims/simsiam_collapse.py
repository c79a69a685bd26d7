from leaven.experiments.claim import FAILS, HOLDS, UNDECIDED, Arm, Claim, Found, Outcome, sign
from leaven.report.reproduction import curves_figure

WITH, WITHOUT = "with stop-gradient", "without stop-gradient"
RANK = "effective rank of the outputs"
COLLAPSED = 0.2  # of 1, which is the spread of outputs that point everywhere; batch norm centres them, so that of 256 all alike but one keep 0.125


class SimsiamCollapse(Claim):
    says = "Without its stop-gradient SimSiam collapses: all outputs become alike, and neighbours tell nothing."
    source = "Chen and He 2021, Exploring Simple Siamese Representation Learning, figure 2"
    rule = (
        f"Holds if without stop-gradient the spread of the outputs ends below {COLLAPSED} of 1 in every seed, with it above in every seed, and the "
        "score is lower without, with the whole 95 % interval over seeds. (Batch norm centres the outputs: where all of a batch of 256 agree but "
        "one, the spread is 0.125.) Does not hold if the spread ends above it in every seed without stop-gradient."
    )
    steps = 300
    minutes = 6

    def arms(self):
        return {WITH: Arm("simsiam"), WITHOUT: Arm("simsiam", {"stop_gradient": False})}

    def measure(self, runs, samples, seed):
        return {arm: {RANK: [row["embedding_rank"] for row in run.metrics if "embedding_rank" in row][-1]} for arm, run in runs.items()}

    def decide(self, found: Found):
        ends = {arm: [last(cell, "embedding_std") for cell in found.of(arm)] for arm in (WITH, WITHOUT)}
        if min(ends[WITHOUT]) >= COLLAPSED:
            verdict = FAILS
        else:
            apart = max(ends[WITHOUT]) < COLLAPSED <= min(ends[WITH])
            verdict = HOLDS if apart and sign(found.gain(WITH, WITHOUT)) == 1 else UNDECIDED
        spreads = " and ".join(f"{min(values):.3f} to {max(values):.3f} {arm}" for arm, values in ends.items())
        ranks = " and ".join(f"{found.number(arm, RANK)['mean']:.1f} {arm}" for arm in (WITH, WITHOUT))
        told = f"the spread of outputs ends at {spreads}, their effective rank at {ranks}"
        return Outcome(verdict, f"{told}; nearest neighbours: {found.told(WITH, WITHOUT)}.")

    def figure(self, found: Found):
        panels = {"spread of the outputs (1: everywhere, 0: all alike)": "embedding_std", "kNN accuracy of training samples": "knn"}

        def curves(name):
            return {arm: [looks(cell, name) for cell in found.of(arm)] for arm in (WITH, WITHOUT)}

        return curves_figure({title: curves(name) for title, name in panels.items()})


def looks(cell, name):
    """(step, value) wherever a measure was taken."""
    return [(row["step"], row[name]) for row in cell.metrics if name in row]


def last(cell, name):
    return looks(cell, name)[-1][1]
