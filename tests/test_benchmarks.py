"""The benchmarks run, prove that all contestants list the same, and say what was promised."""

import sys
from pathlib import Path

import pytest

from benchmarks import kernels, live, merging, opening, prune
from benchmarks.measuring import Contestant, Run, alternated, middle, recall, run
from benchmarks.reporting import NO_GOAL, Goal, Outcome, report

PYTHON = sys.executable
OURS = Contestant("ours", (PYTHON, "-c", "pass"), is_ours=True)
PEER = Contestant("peer", (PYTHON, "-c", "pass"))


def a_run(seconds: float, mib: int = 10) -> Run:
    return Run(seconds, seconds / 2, mib << 20, 3 << 20, 0)


def test_a_run_says_what_the_process_took(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(5 << 20))
    idle = run([PYTHON, "-c", "pass"])
    busy = run(
        [PYTHON, "-c", f"data = open({str(file)!r}, 'rb').read(); import time; time.sleep(0.2); print(len(data))"]
    )
    assert 5 << 20 <= busy.read_bytes - idle.read_bytes < 6 << 20
    assert 4 << 20 <= busy.peak_bytes - idle.peak_bytes < 8 << 20
    assert busy.seconds >= 0.2 > busy.cpu_seconds > 0
    assert idle.peak_bytes < 20 << 20  # of its own, not of the process that started it


def test_a_failing_process_is_no_measurement() -> None:
    with pytest.raises(opening.subprocess.CalledProcessError) as caught:
        run([PYTHON, "-c", "raise SystemExit('it broke')"])
    assert (caught.value.returncode, caught.value.stderr) == (1, "it broke\n")


def test_contestants_take_turns(tmp_path: Path) -> None:
    file = tmp_path / "file"
    program = "import sys; open(sys.argv[2], 'a').write(sys.argv[1])"
    pair = [Contestant(name, (PYTHON, "-c", program, name)) for name in "ab"]
    file.touch()
    runs = alternated(pair, file, 3, cold=True)
    assert file.read_text() == "ababab"
    assert [len(of_one) for of_one in runs.values()] == [3, 3]


def test_what_is_to_be_warm_is_read_before(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(bytes(5 << 20))
    before = bytes_read()
    recall(tmp_path)
    assert bytes_read() - before >= 10 << 20


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def test_the_middle_is_the_median_and_of_memory_the_most() -> None:
    found = middle([a_run(1, 10), a_run(5, 30), a_run(2, 20)])
    assert (found.seconds, found.cpu_seconds, found.peak_bytes) == (2, 1, 30 << 20)


def test_the_report() -> None:
    warm, cold = [a_run(0.2, 20), a_run(3, 220)], [a_run(0.4), a_run(4)]
    goal = Goal(seconds=0.15, peak_bytes=40 << 20, ahead=10)
    assert report(Outcome("A case", (OURS, PEER), warm, cold, goal), markdown=True) == (
        "### A case\n\n"
        "| process | warm s | times | CPU s | peak MiB | read MiB | cold s | cold times | from disk MiB |\n"
        "| ------- | -----: | ----: | ----: | -------: | -------: | -----: | ---------: | ------------: |\n"
        "| ours    |  0.200 |   1.0 | 0.100 |       20 |     3.00 |  0.400 |        1.0 |          0.00 |\n"
        "| peer    |  3.000 |  15.0 | 1.500 |      220 |     3.00 |  4.000 |       10.0 |          0.00 |\n\n"
        "Goals: at most 0.15 s: 0.20 s, missed; at most 40 MiB: 20 MiB, reached; 10 times ahead: 15.0 times, reached.\n"
    )
    assert report(Outcome("A case", (OURS, PEER), warm, (), NO_GOAL), markdown=False) == (
        "A case\n\n"
        "process  warm s  times  CPU s  peak MiB  read MiB\n"
        "ours      0.200    1.0  0.100        20      3.00\n"
        "peer      3.000   15.0  1.500       220      3.00\n"
    )


def test_those_who_list_different_tensors_are_not_compared(tmp_path: Path) -> None:
    same = [
        Contestant(name, (PYTHON, "-c", f"print('a.weight  {kind}  [2, 3]')"))
        for name, kind in (("1", "bf16"), ("2", "torch.bfloat16"))
    ]
    other = Contestant("3", (PYTHON, "-c", "print('a.weight bf16 [3, 2]')"))
    opening.prove(tuple(same), tmp_path)
    with pytest.raises(ValueError, match="1 and 3 list different tensors"):
        opening.prove((*same, other), tmp_path)


@pytest.mark.slow
def test_every_case_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    opening.main(["--quick", "--markdown", "--keep", str(tmp_path)])
    printed = capsys.readouterr().out
    assert [line[4:] for line in printed.splitlines() if line.startswith("### ")] == [
        case.title for case in opening.cases()
    ]
    files = {f"{name}.{suffix}" for name in ("large", "many") for suffix in ("pt", "safetensors")}
    assert {file.name for file in tmp_path.iterdir()} == {*files, "many-shards"}


@pytest.mark.slow
def test_the_views_of_a_live_model_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    live.main(["--quick"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert "40 modules" in head
    assert [line.split("`")[1] for line in lines if line.startswith("| `")] == list(live.VIEWS)


def test_views_that_name_different_things_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    model = live.model(1)
    monkeypatch.setattr(live, "names", lambda tree, _: [] if tree is model else ["another"])
    with pytest.raises(ValueError, match="named_modules: ours and PyTorch's name different things"):
        live.measure(model, "named_modules", 1)


@pytest.mark.slow
def test_merging_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    merging.main(["--quick", "--markdown"])
    printed = capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("| `")] == [
        "`statedict.merge`",
        "`a * 0.5 + b * 0.5` in torch",
    ]


@pytest.mark.slow
def test_pruning_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    prune.main(["--quick", "--markdown"])
    printed = capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("| `")] == [
        "`statedict.prune`",
        "`global_unstructured`",
        "`cat`, `kthvalue`",
    ]


@pytest.mark.slow
def test_every_kernel_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    kernels.main(["--quick"])
    measured = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()[3:]]
    assert measured[1:] == [name for name, *_ in kernels.works()]
