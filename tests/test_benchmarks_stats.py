"""The benchmark of statistics: what it compares finds the same, every case runs, and it says what was reached."""

from pathlib import Path

import numpy as np
import pytest

import statedict
from benchmarks import stats
from benchmarks.measuring import Contestant, Run
from benchmarks.reporting import Outcome
from benchmarks.samples import QUICK


def a_run(seconds: float, mib: int = 40) -> Run:
    return Run(seconds, seconds, mib << 20, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_model_is_full_of_numbers(tmp_path: Path, dtype: str) -> None:
    file = stats.make(tmp_path / "model.safetensors", dtype, 2, QUICK)
    model = statedict.open(file)
    assert {str(tensor.dtype) for tensor in model.parameters()} == {dtype}
    assert file.stat().st_blocks * 512 >= file.stat().st_size
    found = statedict.stats(model)
    assert found.total.std == pytest.approx(0.02, rel=0.01)
    assert found.total.zeros < found.total.count // 1000
    copies = [each.summary for each in found.tensors if each.name.endswith("embed_tokens.weight")]
    assert [each.count for each in copies] == [QUICK.vocabulary * QUICK.hidden] * 2


def test_a_model_that_is_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"there")
    assert stats.make(tmp_path / "model.safetensors", "bfloat16", 1, QUICK).read_bytes() == b"there"


@pytest.mark.parametrize(("change", "same"), [(1e-6, True), (1e-2, False)])
def test_those_who_find_different_figures_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: float, same: bool
) -> None:
    def figures(contestant: Contestant, _: Path) -> object:
        std = 0.5 + (change if contestant is stats.CAREFUL else 0)
        yield "a.weight", [-1.0, 1.0, 0.1, std, 3.0, 1.0]

    monkeypatch.setattr(stats, "figures", figures)
    if same:
        stats.prove([stats.IN_C, stats.CAREFUL], tmp_path)
    else:
        with pytest.raises(ValueError, match=r"`a\.weight` is not the same to `statedict\.stats` and careful"):
            stats.prove([stats.IN_C, stats.CAREFUL], tmp_path)


@pytest.mark.parametrize(("careful", "in_c", "by_numpy"), [(30, "reached", "reached"), (10, "missed", "reached")])
def test_the_verdict(careful: float, in_c: str, by_numpy: str) -> None:
    who = (stats.IN_C, stats.BY_NUMPY, stats.CAREFUL)
    text = stats.verdict(Outcome("A case", who, [a_run(1), a_run(1.25), a_run(careful)]))
    assert f"`statedict.stats` 25 times ahead: {careful:.1f} times, {in_c}; " in text
    assert f"by numpy alone 8 times ahead: {careful / 1.25:.1f} times, {by_numpy}; " in text
    assert text.endswith("peak below 80 MiB: 40 MiB, reached.\n")


def test_the_verdict_of_reading_from_the_disk() -> None:
    outcome = Outcome("Cold", (stats.IN_C, stats.CAT), [a_run(1), a_run(1)], [a_run(4), a_run(5)])
    assert "0.80 times as long as `cat`" in stats.verdict(outcome)


def test_sft_is_taken_from_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert stats.sft_stat(None) is None
    program = tmp_path / "sft"
    program.touch(0o700)
    found = stats.sft_stat(None)
    assert found is not None
    assert found.command == (str(program), "stat")
    assert found in stats.cases(found, 1)[0].contestants


@pytest.mark.slow
def test_every_case_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    stats.main(["--quick", "--markdown", "--keep", str(tmp_path)])
    printed = capsys.readouterr().out
    assert printed.count("### ") == len(stats.cases(None, 1))
    assert printed.count("careful torch loop") == 4
    assert np.array([file.suffix == ".safetensors" for file in tmp_path.iterdir()]).all()
