"""What is committed can be released: the script that checks it is run as a release would run it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_release.py"


def check(*options):
    if shutil.which("uv") is None or shutil.which("git") is None:
        pytest.skip("needs uv and git")
    return subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True)


@pytest.mark.slow
def test_dependencies_resolve_on_every_supported_python():
    checked = check("--no-install")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert [line.split(":")[0] for line in checked.stdout.splitlines()] == ["Python 3.11", "Python 3.12", "Python 3.13"]


@pytest.mark.slow
def test_the_wheel_of_a_clean_clone_runs_the_demo_in_an_empty_environment():
    checked = check("--python", "3.11", "--budget", "5s")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "report.html" in checked.stdout.splitlines()[-1]


def test_what_cannot_be_resolved_is_said():
    checked = check("--python", "2.7", "--no-install")
    assert checked.returncode == 1 and "failed with status" in checked.stderr
