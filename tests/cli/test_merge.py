"""`statedict merge` and `statedict extract-lora` as they are called; the goldens hold what they print."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import statedict as sd
from tests.commands import Ran, run

BASE: dict[str, Any] = {"fc": {"weight": np.arange(12.0, dtype="f4").reshape(3, 4), "bias": np.zeros(3, "f4")}}


def shifted(by: float) -> dict[str, Any]:
    return {"fc": {"weight": BASE["fc"]["weight"] + np.float32(by), "bias": BASE["fc"]["bias"] + np.float32(by)}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, model in (("base", BASE), ("one", shifted(1)), ("two", shifted(2))):
        sd.save(model, f"{name}.safetensors")


def merged(*arguments: str) -> dict[str, Any]:
    ran = run("merge", *arguments, "out.safetensors", "--force")
    assert (ran.code, ran.err) == (0, "")
    return {name: tensor.numpy() for name, tensor in sd.open("out.safetensors").state_dict().items()}


def same(found: dict[str, Any], weight: float, bias: float) -> None:
    np.testing.assert_allclose(found["fc.weight"], BASE["fc"]["weight"] + weight, rtol=1e-6)
    np.testing.assert_allclose(found["fc.bias"], np.full(3, bias), rtol=1e-6)


ONE, TWO = "one.safetensors", "two.safetensors"


def test_linear() -> None:
    same(merged(ONE, TWO), 1.5, 1.5)
    same(merged("-w", "1", ONE, "-w", "3", TWO), 1.75, 1.75)


def test_weights_by_pattern() -> None:
    same(merged("-w", "1", "-w", "fc.{weight,other-1}=0,**=1", ONE, TWO), 1, 1.5)
    ran = run("merge", "-w", "fc.bias=1", "-w", "1", ONE, TWO, "out2.safetensors")
    assert (ran.code, ran.err) == (
        2,
        "statedict: no pattern gives weights for `fc.weight`; add one for all others, `**`, at the end\n",
    )
    assert not Path("out2.safetensors").exists()


def test_task_vectors() -> None:
    same(merged("-m", "task-arithmetic", "--base", "base.safetensors", "--scale", "2", ONE, TWO), 6, 6)
    found = merged("-m", "ties", "--base", "base.safetensors", "--density", "0.25", "--density", "1", ONE, TWO)
    assert (found["fc.weight"] - BASE["fc"]["weight"]).reshape(-1).tolist() == [1.5] * 3 + [2.0] * 9


def test_dare_is_the_same_for_the_same_seed() -> None:
    arguments = ("-m", "dare", "--base", "base.safetensors", "--density", "0.5", ONE)
    first, same, other = (merged(*arguments, "--seed", seed)["fc.weight"].tolist() for seed in "112")
    assert first == same != other


@pytest.mark.parametrize(
    "arguments",
    [["merge", ONE, TWO, "base.safetensors"], ["extract-lora", ONE, "base.safetensors", TWO, "--rank", "1"]],
)
def test_what_is_there_is_not_replaced_unless_that_is_said(arguments: list[str]) -> None:
    """Who forgets where to write would lose the last of the models."""
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    ran = run(*arguments)
    there = arguments[3]
    said = f"statedict: {there}: is there already; choose another name, or replace it with `--force`\n"
    assert (ran.code, ran.err) == (2, said)
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_type_and_shards() -> None:
    ran = run("merge", ONE, TWO, "folder", "--dtype", "f16", "--shard-size", "20", "--verify")
    assert (ran.code, ran.out.split(",")[-1].strip()) == (0, "3 files")
    assert {str(tensor.dtype) for tensor in sd.open("folder").state_dict().values()} == {"float16"}


def extracted(*arguments: str) -> Ran:
    return run("extract-lora", ONE, "base.safetensors", "adapter", "--rank", "1", *arguments)


def test_an_adapter_out_and_in() -> None:
    assert extracted().out.splitlines() == [
        "module     kept",
        "fc      100.00%",
        f"adapter: adapter of rank 1 for 1 module, {size('adapter')} B, 2 files",
        "note: 1 tensor that differs and is no matrix is left out: `fc.bias`",
    ]
    same(merged("lora", "base.safetensors", "adapter"), 1, 0)


def size(folder: str) -> int:
    return sum(file.stat().st_size for file in Path(folder).iterdir())


def test_an_adapter_as_json() -> None:
    found = json.loads(extracted("--json", "--only", "**.weight").out)
    assert found == {
        "schema": "urn:statedict:extract-lora:1",
        "path": "adapter",
        "files": ["adapter_model.safetensors", "adapter_config.json"],
        "nbytes": size("adapter"),
        "rank": 1,
        "seed": 0,
        "energy": {"fc": pytest.approx(1)},
        "left_out": [],
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lora", "a", "b", "c", "--density", "1"], "`merge lora` takes no `--density`"),
        (["lora", "a", "b", "c", "-w", "1"], "`merge lora` takes no `--weight`"),
        ([ONE, TWO, "x.pt", "--dtype", "float99"], "`float99` is no element type; expected one such as bf16"),
        ([ONE, "none.safetensors", "x.pt"], "none.safetensors: "),
        ([ONE, TWO, "x.pt", "-m", "mean"], "there is no method `mean` to merge by"),
    ],
)
def test_wrong_use(arguments: list[str], message: str) -> None:
    ran = run("merge", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"statedict: {message}")
    assert ran.err.count("\n") == 1
    assert not Path("x.pt").exists()
