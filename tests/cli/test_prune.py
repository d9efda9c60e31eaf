"""`statedict prune` as it is called; the goldens hold what it prints."""

import json
from pathlib import Path

import numpy as np
import pytest

import statedict as sd
from tests.commands import Ran, run

FILE = "net.safetensors"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    numbers = np.arange(1.0, 33, dtype="f4").reshape(4, 8)
    sd.save({"a": {"weight": numbers, "bias": numbers[0]}, "b": {"weight": -numbers}}, FILE)


def zeros(file: str) -> dict[str, int]:
    return {name: int((each.numpy() == 0).sum()) for name, each in sd.open(file).state_dict().items()}


def is_error(ran: Ran, text: str) -> bool:
    return ran.code == 2 and not ran.out and ran.err == f"statedict: {text}\n"


def test_half() -> None:
    ran = run("prune", FILE, "out.safetensors", "--amount", "0.5", "--protect", "biases")
    assert (ran.code, ran.err) == (0, "")
    assert "pruned: 32 of 64 values (50.00%) in 2 tensors" in ran.out
    assert "left out, biases: a.bias" in ran.out
    assert zeros("out.safetensors") == {"a.weight": 16, "a.bias": 0, "b.weight": 16}
    assert json.loads(sd.open("out.safetensors").metadata["statedict.prune"])["pruned"] == 32


def test_a_file_for_each_amount() -> None:
    ran = run("prune", FILE, "{amount}.npz", "**.weight", "-a", "0.25,3", "--protect", "none", "--scope", "tensor")
    assert (ran.code, ran.err) == (0, "")
    assert zeros("0.25.npz") == {"a.weight": 8, "a.bias": 0, "b.weight": 8}
    assert zeros("3.npz") == {"a.weight": 3, "a.bias": 0, "b.weight": 3}
    assert is_error(
        run("prune", FILE, "out.npz", "-a", "0.25,0.5"), "out.npz: is one name for 2 amounts; put {amount} into it"
    )


def test_amounts_by_pattern() -> None:
    assert run("prune", FILE, "out.npz", "-a", "{a,b}.bias=2,**=0.25", "--protect", "none").code == 0
    assert zeros("out.npz") == {"a.weight": 8, "a.bias": 2, "b.weight": 8}


def test_masks_there_and_back() -> None:
    first = ["--method", "2:4", "--protect", "biases", "--save-masks", "masks.safetensors"]
    ran = run("prune", FILE, "one.safetensors", *first)
    assert (ran.code, ran.err) == (0, "")
    assert sd.open("masks.safetensors").state_dict()["a.weight"].dtype == sd.dtype("bool")
    assert run("prune", FILE, "two.safetensors", "--method", "mask", "--mask", "masks.safetensors").code == 0
    assert zeros("one.safetensors") == zeros("two.safetensors") == {"a.weight": 16, "a.bias": 0, "b.weight": 16}


def test_a_dry_run_writes_nothing() -> None:
    ran = run("prune", FILE, "out.safetensors", "-a", "0.5", "--dry-run", "--method", "rows", "--protect", "none")
    assert ran.out == "pruned: 4 of 8 rows (50.00%) in 2 tensors\n" or "rows" in ran.out
    assert [path.name for path in Path().iterdir()] == [FILE]


def test_what_is_there_is_not_replaced() -> None:
    run("prune", FILE, "out.safetensors", "-a", "0.5", "--protect", "none")
    before = Path("out.safetensors").read_bytes()
    ran = run("prune", FILE, "out.safetensors", "-a", "0.9", "--protect", "none")
    assert is_error(ran, "out.safetensors: is there already; choose another name, or replace it with `--force`")
    assert Path("out.safetensors").read_bytes() == before


def test_nan_is_told_with_file_and_tensor() -> None:
    sd.save({"weight": np.full((4, 4), np.nan, "f4")}, "bad.safetensors")
    for method in (["-a", "0.5"], ["-m", "2:4"], ["-m", "rows", "-a", "1"]):
        ran = run("prune", "bad.safetensors", "out.safetensors", "--protect", "none", *method)
        text = "tensor `weight` holds NaN, which has no magnitude; repair it, or leave it out of the pruning"
        assert is_error(ran, f"bad.safetensors: {text}")
        assert not Path("out.safetensors").exists()


NOTHING_LEFT = (
    "nothing is left to prune: `a.weight` and all others that were chosen are protected (first, biases, last); "
    "`--protect none` protects nothing"
)
NO_AMOUNT = (
    "Invalid value for '--amount' / '-a': `half` is neither a share such as 0.5 nor a whole number "
    "(see `statedict prune --help`)"
)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "`magnitude` needs an `--amount`, such as 0.5"),
        (["-a", "0.5"], NOTHING_LEFT),
        (["-m", "mask"], "`mask` needs `--mask`, a checkpoint of them"),
        (["-m", "2:4", "-a", "0.5"], "`2:4` says the amount itself; leave `--amount` out"),
        (["-a", "half"], NO_AMOUNT),
    ],
)  # fmt: skip
def test_wrong_use(arguments: list[str], text: str) -> None:
    assert is_error(run("prune", FILE, "out.safetensors", *arguments), text)
