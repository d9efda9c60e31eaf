"""The benchmark of the explorer runs."""

import pytest

from benchmarks import exploring
from tests.browser import chromium


@pytest.mark.slow
def test_the_explorer_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    chromium()
    exploring.main(["--quick"])
    printed = capsys.readouterr().out
    assert "page to its tree" in printed
    assert "slowest tile" in printed
