"""Findings as lines: cut to the terminal, and safe to show whatever names a file brings."""

import pytest

from statedict.ops.check.finding import Finding, Report
from statedict.views.check import report_lines
from statedict.views.lines import cells, plain


def report(*names: str) -> Report:
    findings = tuple(Finding("nan", name, "error", "3 of 1,024 elements are NaN", "go back " * 20) for name in names)
    return Report(findings, ("nan",), len(names), {"s": "tensor `s` is sparse_coo, not strided; use `.to_dense()`"})


@pytest.mark.parametrize("width", [20, 40, 80])
def test_lines_fit_the_terminal(width: int) -> None:
    lines = plain(report_lines("net.pt", report(*(f"layers.{at}.weight" for at in range(30))), "note", width))
    assert max(map(cells, lines.splitlines())) <= width
    assert " ".join(lines.split()).count("go back") == 20, "what to do is never cut"
    assert "use `.to_dense()`" in " ".join(lines.split())


def test_names_cannot_reach_the_terminal() -> None:
    text = plain(report_lines("a\x1b[2J.pt", report("evil\nname\x1b[31m"), "note"))
    assert "evil\\nname\\x1b[31m: 3 of" in text
    assert "\x1b" not in text
