"""The bar of long commands: on a terminal only, gone at the end, fed by whatever writes."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from statedict.cli import progress

PROGRAM = """
import sys
from pathlib import Path
from statedict.cli.progress import progress_bar
from statedict.plan import Plan
from statedict.writing import write_file
from tests.writing.sources import slow

with progress_bar("converting") as progress:
    write_file(Plan((slow(bytes(24 << 20), 0.1),)), Path(sys.argv[1]), progress=progress)
print(progress and progress.total, "rich" in sys.modules)
"""


def test_nothing_where_nobody_looks(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "out")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("None False\n", "")


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 1 << 16):
                shown += piece
        except OSError:  # how a terminal ends
            pass
        out = process.communicate()[0]
    os.close(ours)
    text = shown.decode()
    assert out == f"{24 << 20} True\n"
    assert "converting" in text
    assert "/24.0 MiB" in text
    assert text.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))  # and then it is gone


def test_what_is_read_in_several_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass tells its own total; the bar is moved by what was read since."""
    steps: list[tuple[int, int]] = []

    class Bar:
        total = 0

        def advance(self, size: int) -> None:
            steps.append((self.total, size))

    monkeypatch.setattr(progress, "progress_bar", lambda _: contextlib.nullcontext(Bar()))
    with progress.reading_bar("reading") as tell:
        assert tell is not None
        for done, total in ((4, 10), (10, 10), (3, 6), (6, 6)):
            tell(done, total)
    assert steps == [(10, 4), (10, 6), (6, 3), (6, 3)]
