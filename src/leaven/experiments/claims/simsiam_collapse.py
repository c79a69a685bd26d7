from leaven.experiments.claim import FAILS, HOLDS, UNDECIDED, Arm, Claim, Findings, Outcome, sign

WITH, WITHOUT = "with stop-gradient", "without stop-gradient"
RANK = "effective rank of the outputs"
COLLAPSED = 0.2  # outputs that point everywhere have a spread of 1; batch norm centres them, so that 256 which are alike but for one have 0.125


class SimsiamCollapse(Claim):
    says = "Without its stop-gradient SimSiam collapses: all outputs become alike, and neighbours say nothing about classes."
    source = "Chen and He 2021, Exploring Simple Siamese Representation Learning, figure 2"
    rule = (
        f"Holds if in every seed the spread of the outputs ends below {COLLAPSED} of 1 without stop-gradient and above it with stop-gradient, and "
        "the score is lower without, with the whole 95 % interval over seeds. (Batch norm centres the outputs: where all of a batch of 256 agree but "
        f"one, the spread is 0.125.) Does not hold if without stop-gradient the spread ends above {COLLAPSED} in every seed."
    )
    steps = 300
    minutes = 6
    panels = {"spread of the outputs (1: everywhere, 0: all alike)": "embedding_std", "kNN accuracy of training samples": "knn"}

    def arms(self):
        return {WITH: Arm("simsiam"), WITHOUT: Arm("simsiam", {"stop_gradient": False})}

    def measure_run(self, run, samples, seed):
        return {RANK: [row["embedding_rank"] for row in run.metrics if "embedding_rank" in row][-1]}

    def decide(self, findings: Findings):
        ends = {arm: [cell.curve("embedding_std")[-1][1] for cell in findings.cells_of(arm)] for arm in (WITH, WITHOUT)}
        if min(ends[WITHOUT]) >= COLLAPSED:
            verdict = FAILS
        else:
            collapsed = max(ends[WITHOUT]) < COLLAPSED <= min(ends[WITH])
            verdict = HOLDS if collapsed and sign(findings.gain(WITH, WITHOUT)) == 1 else UNDECIDED
        spreads = " and ".join(f"{min(values):.3f} to {max(values):.3f} {arm}" for arm, values in ends.items())
        ranks = " and ".join(f"{findings.number(arm, RANK)['mean']:.1f} {arm}" for arm in (WITH, WITHOUT))
        numbers = f"the spread of outputs ends at {spreads}, their effective rank at {ranks}"
        return Outcome(verdict, f"{numbers}; nearest neighbours: {findings.contrast(WITH, WITHOUT)}.")
