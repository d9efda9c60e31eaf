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
from statedict.cli import progress as bars
from statedict.cli.progress import progress_bar
from statedict.plan import Plan
from statedict.writing import write_file
from tests.writing.sources import slow

bars._PATIENCE = float(sys.argv[2])
with progress_bar("converting") as progress:
    write_file(Plan((slow(bytes(24 << 20), 0.1),)), Path(sys.argv[1]), progress=progress)
print(progress and progress.total, "rich" in sys.modules)
"""


def test_nothing_where_nobody_looks(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "out"), "0"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("None False\n", "")


def on_terminal(target: Path, patience: float) -> tuple[str, str]:
    """What the program prints on its output, and on a terminal, where a bar is shown after `patience`."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", PROGRAM, str(target), str(patience)]
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
    return out, shown.decode()


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    out, text = on_terminal(tmp_path / "out", 0)
    assert out == f"{24 << 20} True\n"
    assert "converting" in text
    assert "/24.0 MiB" in text
    assert text.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))  # and then it is gone


def test_what_is_done_soon_shows_no_bar_and_does_not_load_what_draws_it(tmp_path: Path) -> None:
    assert on_terminal(tmp_path / "out", 1000) == (f"{24 << 20} False\n", "")


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
