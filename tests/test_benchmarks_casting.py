"""The benchmark of casting: every case runs, and says what was reached."""

from pathlib import Path

import pytest

import statedict
from benchmarks import casting
from benchmarks.measuring import Run


@pytest.mark.parametrize(("ours", "met"), [(0.9, "reached"), (1.4, "reached"), (1.6, "missed")])
def test_the_verdict(ours: float, met: str) -> None:
    text = casting.verdict([Run(each, each, 0, 0, 0) for each in (ours, 3, 1.5)], 10**9)
    assert text.endswith(f"{3 / ours:.1f} times ahead of PyTorch: {met}.\n")


def test_a_file_with_holes_opens(tmp_path: Path) -> None:
    file = casting.with_holes(tmp_path / "holes.safetensors", 2**30)
    assert [tensor.shape for tensor in statedict.open(file).parameters()] == [(65536, 1024)] * 4
    assert file.stat().st_blocks * 512 < 2**20


@pytest.mark.slow
def test_every_case_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    casting.main(["--quick", "--markdown", "--keep", str(tmp_path)])
    printed = capsys.readouterr().out
    assert printed.count("### ") == 2
    assert "Memory, at most 200 MiB" in printed
