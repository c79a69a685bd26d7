"""Where the electrodes of the 10-20 and 10-10 systems lie on the head, seen from above."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

ROWS = {"AF": 36, "F": 54, "FC": 72, "C": 90, "CP": 108, "P": 126, "PO": 144}
"""Rows from the left to the right: the angle of their ends on the ring, from the nose, in degrees."""
RING = {"FC": "FT", "C": "T", "CP": "TP"}  # rows that are called otherwise at their ends
OUTER = 1.25  # radius of what lies below the ring through Fpz, T7, Oz and T8, whose radius is 1
OLD = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
EARS = {"A1": -100, "M1": -105, "A2": 100, "M2": 105}


@lru_cache
def places() -> dict[str, tuple[float, float]]:
    """Upper-case name of each electrode -> (to the right, to the nose), 1 at the ring.

    The middle line is divided evenly, and each row evenly along an arc from the ring through the middle line (Oostenveld and Praamstra 2001).
    """
    known = {"FPZ": (0.0, 1.0), "OZ": (0.0, -1.0), "NZ": (0.0, OUTER), "IZ": (0.0, -OUTER)}
    known |= {name: on_circle(angle, 1.0) for name, angle in (("FP1", -18), ("FP2", 18), ("O1", -162), ("O2", 162))}
    known |= {name: on_circle(angle, OUTER) for name, angle in EARS.items()}
    for row, angle in ROWS.items():
        (edge_x, edge_y), middle = on_circle(angle, 1.0), (90 - angle) / 72
        known[f"{row}Z"] = (0.0, middle)
        for number in range(1, 9):
            part, side = (number + 1) // 2 / 4, 1 if number % 2 == 0 else -1
            known[f"{RING.get(row, row) if number > 6 else row}{number}"] = (side * part * edge_x, middle + part**2 * (edge_y - middle))
        for number, side in ((9, -1), (10, 1)):
            known[f"{RING.get(row, row)}{number}"] = on_circle(side * angle, OUTER)
    return known


def on_circle(angle: float, radius: float) -> tuple[float, float]:
    """A place by its angle from the nose to the right, in degrees."""
    return radius * math.sin(math.radians(angle)), radius * math.cos(math.radians(angle))


def placed(names: Sequence[str]) -> dict[int, tuple[float, float]]:
    """The number of each channel whose name is that of an electrode -> where it lies. A reference may follow the name, as in `Fp1-A2`."""
    electrodes = [name.strip().upper().split("-")[0] for name in names]
    electrodes = [OLD.get(name, name) for name in electrodes]
    return {number: places()[name] for number, name in enumerate(electrodes) if name in places()}
