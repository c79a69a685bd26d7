import math
from statistics import fmean

from leaven.experiments.claim import FAILS, HOLDS, UNDECIDED, Arm, Claim, Findings, Outcome, sign

COLOURED, PLAIN = "tiles with their colours", "each tile normalised"


class JigsawColour(Claim):
    says = "Jigsaw puzzles can be solved by colour, without learning what is in the picture; normalising each tile takes that shortcut away."
    source = "Noroozi and Favaro 2016, Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles, on preventing shortcuts"
    rule = (
        "Holds if puzzles of tiles with their colours are solved better in every seed (a lower loss over the last tenth of the steps), and their "
        "features score lower in the mean than those of normalised tiles, and not higher with the whole 95 % interval over seeds. Does not hold if "
        "normalised tiles are solved as well in every seed."
    )
    batch = 128
    steps = 500
    minutes = 6

    def arms(self):
        return {PLAIN: Arm("jigsaw"), COLOURED: Arm("jigsaw", {"normalize_tiles": False})}

    def decide(self, findings: Findings):
        losses = {arm: [puzzle_loss(cell) for cell in findings.cells_of(arm)] for arm in findings.arms}
        easier = [coloured < plain for coloured, plain in zip(losses[COLOURED], losses[PLAIN], strict=True)]
        gain = findings.gain(PLAIN, COLOURED)
        verdict = HOLDS if all(easier) and gain["accuracy"] > 0 and sign(gain) >= 0 else FAILS if not any(easier) else UNDECIDED
        _, chance = findings.cells[0].curve("chance")[0]
        means = ", ".join(f"{arm} {fmean(values):.2f}" for arm, values in losses.items())
        features = f"features of normalised tiles against those of coloured ones: {findings.contrast(PLAIN, COLOURED)}"
        return Outcome(verdict, f"loss of the puzzle (chance {chance:.2f}): {means}; {features}.")


def puzzle_loss(cell):
    """Mean loss over the last tenth of the training."""
    losses = [loss for _, loss in cell.curve("loss")]
    return fmean(losses[-max(1, math.ceil(len(losses) / 10)) :])
