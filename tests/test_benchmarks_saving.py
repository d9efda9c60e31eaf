"""The benchmark of saving: what it compares is the same, and every case runs."""

from pathlib import Path

import pytest

from benchmarks import saving
from benchmarks.measuring import Contestant, Run
from benchmarks.opening import PYTHON
from statedict.plan import Plan
from statedict.writing import write_file
from tests.writing.test_folders import shard


def test_those_who_write_different_tensors_are_not_compared(tmp_path: Path) -> None:
    written = tmp_path / "written"
    output = tmp_path / "output"
    output.mkdir()
    written.mkdir()
    write_file(Plan((shard({"a": 1}),)), written / "ours")
    write_file(Plan((shard({"a": 2}),)), written / "torch")
    program = "import shutil, sys; shutil.copy(f'{sys.argv[2]}/{sys.argv[1]}', f'{sys.argv[3]}/{sys.argv[4]}')"
    who = [
        Contestant(name, (PYTHON, "-c", program, name, str(written), str(output), f"{name}.safetensors"))
        for name in ("ours", "torch")
    ]
    with pytest.raises(ValueError, match="`a` is not the same in both"):
        saving.prove(who, tmp_path, output)
    (written / "torch").write_bytes((written / "ours").read_bytes())
    saving.prove(who, tmp_path, output)


@pytest.mark.parametrize(("ours", "met"), [(1.2, "reached"), (1.3, "missed"), (0.9, "reached")])
def test_the_verdict(ours: float, met: str) -> None:
    seconds = (ours, 3, 1, ours, 2)
    text = saving.verdict([Run(each, each, 0, 0, 0) for each in seconds])
    assert text.endswith(f"{3 / ours:.1f} times ahead: {met}.\n")
    assert f"{ours:.2f} times `cp`, {3 / ours:.1f} times ahead; ours that waits: {ours / 2:.2f} times" in text


@pytest.mark.slow
def test_every_case_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    saving.main(["--quick", "--markdown", "--keep", str(tmp_path)])
    printed = capsys.readouterr().out
    assert printed.count("### ") == 2
    assert printed.count("`statedict.save`") == printed.count("`statedict.save(durable=False)`") == 2
