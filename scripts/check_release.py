"""Check that Leaven can be released: the wheel of a clean clone works in an empty environment, and its dependencies resolve on every Python.

    python scripts/check_release.py [--python 3.11 3.12 3.13] [--no-install]

Needs git and uv. Exit status 1 at the first check that fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def run(*command: str | Path, **options) -> str:
    """The output of a command; where it fails, its errors and the end of this check."""
    finished = subprocess.run(list(map(str, command)), text=True, capture_output=True, **options)
    if finished.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed with status {finished.returncode}:\n{finished.stdout}{finished.stderr}")
    return finished.stdout


def resolve(python: str) -> int:
    """How many packages the core and all extras resolve to on a Python."""
    return sum(
        "==" in line for line in run("uv", "pip", "compile", PROJECT / "pyproject.toml", "--all-extras", "--python-version", python).splitlines()
    )


def build_wheel(folder: Path) -> Path:
    """The wheel of what is committed."""
    run("git", "clone", "--quiet", PROJECT, folder / "clone")
    run("uv", "build", "--wheel", "--quiet", "--out-dir", folder, folder / "clone")
    (wheel,) = folder.glob("*.whl")
    return wheel


def run_demo(wheel: Path, folder: Path, budget: str) -> str:
    """The last line of `leaven demo`, run from an empty environment that holds the wheel and nothing else."""
    run("uv", "venv", "--quiet", folder / "empty")
    python = folder / "empty" / "bin" / "python"
    run("uv", "pip", "install", "--quiet", "--python", python, wheel)
    return run(python.with_name("leaven"), "demo", "--budget", budget, "--out", folder / "run", cwd=folder).strip().splitlines()[-1]


def main() -> None:
    supported = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--python", nargs="+", default=["3.11", "3.12", "3.13"], help=f"Python versions to resolve for (supported: {supported} or newer)"
    )
    parser.add_argument("--no-install", action="store_true", help="only resolve, do not build and install")
    parser.add_argument("--budget", default="10s", help="time for the demo's pre-training")
    arguments = parser.parse_args()
    for python in arguments.python:
        print(f"Python {python}: {resolve(python)} packages resolve", flush=True)
    if not arguments.no_install:
        with tempfile.TemporaryDirectory() as folder:
            wheel = build_wheel(Path(folder))
            print(f"{wheel.name}: built, installing it into an empty environment", flush=True)
            print(run_demo(wheel, Path(folder), arguments.budget))


if __name__ == "__main__":
    main()
