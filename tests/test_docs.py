"""What the documentation says is true: every code block runs, and every shown file is the file."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SET_UP = ("pip install uv", "uv run --all-extras pytest")  # what CI itself does
LENGTH = re.compile(r"--budget \S+")


def blocks(language):
    found = [(page, info.strip(), text) for page in PAGES for kind, info, text in BLOCK.findall(page.read_text()) if kind == language]
    return [pytest.param(*block, id=f"{block[0].name}-{number}") for number, block in enumerate(found)]


def pictures(folder):
    """What a reader has: nested pictures, and a csv file with some labels."""
    generator, lines = np.random.default_rng(0), ["file,label"]
    for number in range(60):
        pixels = generator.integers(0, 90, (24, 24, 3), dtype=np.uint8)
        pixels[..., number % 3] += 150
        path = Path(f"batch{number % 4}") / f"{number}.png"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / path)
        lines.append(f"{path},{['red', 'green', 'blue'][number % 3]}")
    return "\n".join(lines)


@pytest.mark.parametrize(("page", "info", "text"), blocks("bash"))
def test_shell_blocks_run_with_shortened_budgets(page, info, text, tmp_path):
    (tmp_path / "labels.csv").write_text(pictures(tmp_path / "path" / "to" / "pictures"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in text.splitlines():
        if not line.strip() or line.startswith(SET_UP):
            continue
        command = LENGTH.sub("--budget 8s", line)
        found = subprocess.run(command, shell=True, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=300)
        assert found.returncode == 0, f"{line}\n{found.stderr[-2000:]}"


@pytest.mark.parametrize(("page", "info", "text"), blocks("python"))
def test_python_blocks_run_or_show_the_file_that_they_name(page, info, text, tmp_path, monkeypatch):
    if info.startswith("file="):
        assert text == (ROOT / info.removeprefix("file=")).read_text()
        return
    monkeypatch.chdir(tmp_path)
    exec(compile(text, str(page), "exec"), {})


def test_links_within_the_documentation_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
