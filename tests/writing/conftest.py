"""What the tests of writing begin with."""

from pathlib import Path

import pytest


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A file that is there already."""
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    return path
