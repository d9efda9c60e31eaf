"""Saving without the right to: somebody else's folder, a protected file, an owner that cannot be kept."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.writing.test_faults import OLD, SAVE, ended, start

UNPRIVILEGED = (
    SAVE
    + """
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    write_file(Plan((b"new",)), target) if what == "file" else write_folder({"a": Plan((b"new",))}, target)
    print("done")
except StatedictError as error:
    print(error)
"""
)


@pytest.fixture
def open_path() -> Generator[Path]:
    """A folder that any user can reach, unlike pytest's."""
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="statedict-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_no_right_to_write_there(open_path: Path, what: str) -> None:
    (open_path / "locked").mkdir(mode=0o555)
    kept = open_path / "locked" / "kept"
    code, text = ended(start(UNPRIVILEGED, what, kept))
    assert code == 0
    assert text == (
        f"{kept}: cannot be written: permission denied; choose another place, or ask for the right to write there\n"
    )


@pytest.mark.skipif(os.getuid() != 0, reason="needs a file of another user")
def test_a_file_that_is_write_protected(open_path: Path) -> None:
    (open_path / "shared").mkdir()
    (open_path / "shared").chmod(0o777)
    kept = open_path / "shared" / "kept"
    kept.write_bytes(OLD)
    kept.chmod(0o644)
    code, text = ended(start(UNPRIVILEGED, "file", kept))
    assert (code, text) == (
        0,
        f"{kept}: is write-protected; choose another name, or allow writing (`chmod u+w`)\n",
    )
    assert kept.read_bytes() == OLD


@pytest.mark.skipif(os.getuid() != 0, reason="needs a file of another user")
def test_an_owner_that_cannot_be_kept(open_path: Path) -> None:
    """Somebody else's file that we may write to becomes ours, with the same rights."""
    (open_path / "shared").mkdir()
    (open_path / "shared").chmod(0o777)
    kept = open_path / "shared" / "kept"
    kept.write_bytes(OLD)
    kept.chmod(0o666)
    assert ended(start(UNPRIVILEGED, "file", kept)) == (0, "done\n")
    assert kept.read_bytes() == b"new"
    assert (kept.stat().st_uid, kept.stat().st_mode & 0o777) == (65534, 0o666)
