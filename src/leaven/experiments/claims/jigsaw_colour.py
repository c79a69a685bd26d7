import math

from leaven.experiments.claim import FAILS, HOLDS, UNDECIDED, Arm, Claim, Found, Outcome, sign
from leaven.report.reproduction import bar_figure

COLOURED, PLAIN = "tiles with their colours", "each tile normalised"


class JigsawColour(Claim):
    says = "Jigsaw puzzles can be solved by colour, without learning what is in the picture; normalising each tile takes that shortcut away."
    source = "Noroozi and Favaro 2016, Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles, on preventing shortcuts"
    rule = (
        "Holds if puzzles of tiles with their colours are solved better in every seed (a lower loss over the last tenth of the steps), and the "
        "features score no higher than those of normalised tiles, with the mean below. "
        "Does not hold if normalised tiles are solved as well in every seed."
    )
    batch = 128
    steps = 500
    minutes = 6

    def arms(self):
        return {PLAIN: Arm("jigsaw"), COLOURED: Arm("jigsaw", {"normalize_tiles": False})}

    def decide(self, found: Found):
        losses = {arm: [puzzle_loss(cell) for cell in found.of(arm)] for arm in found.arms}
        easier = [coloured < plain for coloured, plain in zip(losses[COLOURED], losses[PLAIN], strict=True)]
        gain = found.gain(PLAIN, COLOURED)
        verdict = HOLDS if all(easier) and gain["accuracy"] > 0 and sign(gain) >= 0 else FAILS if not any(easier) else UNDECIDED
        chance = next(row["chance"] for row in found.cells[0].metrics if "chance" in row)
        told = ", ".join(f"{arm} {sum(values) / len(values):.2f}" for arm, values in losses.items())
        features = found.told(PLAIN, COLOURED)
        return Outcome(verdict, f"loss of the puzzle (chance {chance:.2f}): {told}; features of normalised tiles against coloured: {features}.")

    def figure(self, found: Found):
        return bar_figure({arm: found.score(arm) for arm in found.arms})


def puzzle_loss(cell):
    """Mean loss over the last tenth of the training."""
    rows = [row for row in cell.metrics if "loss" in row]
    late = rows[-max(1, math.ceil(len(rows) / 10)) :]
    return sum(row["loss"] for row in late) / len(late)
