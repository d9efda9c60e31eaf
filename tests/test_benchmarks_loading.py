"""The benchmark of loading: every case runs, proves that all load the same, and says what was reached."""

from pathlib import Path

import pytest

from benchmarks import loading
from benchmarks.loading import CASES, Case


def run(seconds: float, reading: float = 0.0) -> dict[str, float]:
    return {"seconds": seconds, "cpu": seconds, "reading": reading, "peak": 2.0**21, "checksum": 1.0}


@pytest.mark.parametrize(("ours", "met"), [(0.2, "reached"), (0.31, "reached"), (0.4, "missed")])
def test_the_verdict(ours: float, met: str) -> None:
    found = {"ours": run(ours), "torch-mmap": run(0.3), "torch": run(2)}
    text = loading.verdict(Case("bfloat16", "pt", "live"), found)
    assert text == f"Goal: no slower than any: {ours:.3f} s against 0.300 s, {met}.\n"


def test_what_is_mapped_counts_once_it_is_read() -> None:
    found = {"ours": run(1.5, 0.5), "ours-mmap": run(0, 1), "safetensors": run(0, 4)}
    text = loading.table(Case("bfloat16", "safetensors", "meta"), found, markdown=True)
    assert text.startswith("### `.safetensors` of bfloat16 into a model on the meta device\n")
    assert [line.split("|")[-3].strip() for line in text.splitlines()[4:]] == ["1.00", "0.50", "2.00"]
    assert [line.split("|")[-2].strip() for line in text.splitlines()[4:]] == ["2", "2", "2"]


def test_each_way_has_a_name() -> None:
    assert all((way, case.where) in loading._NAMES for case in CASES for way in case.ways)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.slow
def test_cases_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    loading.main(["--quick", "--markdown", "--only", "`.safetensors` of bfloat16", "--keep", str(tmp_path)])
    assert capsys.readouterr().out.count("### ") == 2
