from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SHOWN = 10  # texts


Seed = Annotated[int, typer.Option(help="Seed of what is random in it.")]


Out = Annotated[Path | None, typer.Option(help="A .png of them, a .npy of their numbers, or a .txt of texts.")]
