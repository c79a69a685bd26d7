import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets: LEAVEN_TEST_DATA, else `shared/data` beside the repository."""
    root = Path(os.environ.get("LEAVEN_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no real data at {root}; set LEAVEN_TEST_DATA")
    return root
