"""What the documentation says is true: every code block runs, and every shown file is the file."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SET_UP = ("pip install uv", "git clone")


def blocks(language):
    found = [(page, info.strip(), text) for page in PAGES for kind, info, text in BLOCK.findall(page.read_text()) if kind == language]
    return [pytest.param(*block, id=f"{block[0].name}-{number}") for number, block in enumerate(found)]


def environment(tmp_path):
    data = os.environ.get("LEAVEN_TEST_DATA") or str(ROOT.parent / "shared" / "data")
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "LEAVEN_DATA": data}


@pytest.mark.parametrize(("page", "info", "text"), blocks("bash"))
def test_shell_blocks_run(page, info, text, tmp_path):
    lines = [line.split("  #")[0].strip() for line in text.splitlines()]
    commands = [line for line in lines if line and not line.startswith(SET_UP) and not line.endswith("pytest")]
    if "slow" in info.split() or not commands:
        assert "slow" in info.split() or all(line.startswith(SET_UP) or line.endswith("pytest") for line in lines if line)
        return
    for line in commands:
        found = subprocess.run(line, shell=True, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=300)
        assert found.returncode == 0, f"{line}\n{found.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.parametrize(("page", "info", "text"), blocks("bash"))
def test_long_shell_blocks_run(page, info, text, tmp_path):
    if "slow" not in info.split():
        pytest.skip("runs in the fast suite")
    for line in text.splitlines():
        subprocess.run(line, shell=True, cwd=tmp_path, env=environment(tmp_path), check=True, timeout=1800)


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
