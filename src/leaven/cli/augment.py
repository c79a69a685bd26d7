from __future__ import annotations

from typing import Any

from leaven.cli.command import command


@command
def augment(augmented: Any, options: Any) -> tuple[Any, str]:
    left = f"; {augmented.left_out:,} left out, of which the classifier is least sure" if augmented.left_out else ""
    counts = f"{augmented.out}: {augmented.real:,} real and {augmented.generated:,} generated samples to learn from{left}"
    return augmented.to_dict(), f"{counts}\n{augmented.sentence}\nNext: leaven pretrain {augmented.out}; the report: {augmented.report}"
