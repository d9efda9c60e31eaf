"""The benchmarks of `diff` run, prove that ours and PyTorch's find the same, and plant what they say."""

import pytest

from benchmarks import diff, diff_tools
from benchmarks.measuring import Run


@pytest.mark.slow
def test_comparing_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    diff.main(["--quick", "--markdown"])
    printed = capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("| `")] == [
        "`statedict diff`",
        "`statedict diff --no-kinds`",
        "`statedict diff`, numpy alone",
        "`(a.float() - b.float()).abs().max()`",
        "`(a - b).abs().max()`",
    ]


def test_the_goals_are_judged() -> None:
    def a_run(seconds: float, mib: int = 50) -> Run:
        return Run(seconds, seconds, mib << 20, 0, 0)

    reached = diff.verdict([a_run(1), a_run(1), a_run(2), a_run(11), a_run(5)])
    assert "10 times ahead: 11.0, reached; 4 times ahead in numpy: 5.5, reached" in reached
    missed = diff.verdict([a_run(2, 130), a_run(1), a_run(4), a_run(11), a_run(5)])
    assert missed.count("missed") == 3


@pytest.mark.slow
def test_each_plant_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    diff_tools.main([])
    rows = [line.split("|")[1:3] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [name.strip() for name, _ in rows] == list(diff_tools.plants())
    assert [int(cell.split(":")[0]) for _, cell in rows] == [0, *[1] * (len(rows) - 1)]
