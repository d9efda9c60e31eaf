"""`open` of dicts in memory: torch, numpy and JAX arrays, nested, sharing their memory."""

import sys
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import statedict as sd
from tests.same import assert_same_state_dict


def trained() -> dict[str, Any]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "args": Namespace(lr=0.1)}


def described(model: sd.Module) -> list[Any]:
    return [
        (name, module.kind, module.class_name, module.container, module.version, repr(module.attributes),
         [(n, t.shape, str(t.dtype), type(t), t.requires_grad) for n, t in module.named_parameters(recurse=False)],
         [(n, t.shape, str(t.dtype), type(t)) for n, t in module.named_buffers(recurse=False)])
        for name, module in model.named_modules(remove_duplicate=False)
    ]  # fmt: skip


def tied() -> dict[str, Any]:
    net = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    net["b"].weight = net["a"].weight
    return {"state": net.state_dict(), "again": net["a"].weight, "list": [torch.ones(1), {"x": torch.ones(2)}, None]}


@pytest.mark.parametrize("make", [trained, tied])
def test_a_dict_is_read_as_the_file_of_it_is(make: Any, tmp_path: Path) -> None:
    checkpoint = make()
    torch.save(checkpoint, tmp_path / "file.pt")
    ours, file = sd.open(checkpoint), sd.open(tmp_path / "file.pt")
    assert described(ours) == described(file)
    assert [(n, t.numpy().tolist()) for n, t in ours.state_dict().items()] == [
        (n, t.numpy().tolist()) for n, t in file.state_dict().items()
    ]
    shared = [name for name, _ in ours.named_parameters()]
    assert shared == [name for name, _ in file.named_parameters()]


def test_a_part_of_a_dict() -> None:
    checkpoint = trained()
    assert_same_state_dict(sd.open(checkpoint, key="model").state_dict(), checkpoint["model"])
    with pytest.raises(sd.StatedictError, match="the dict: has no module `modle`; did you mean `model`"):
        sd.open(checkpoint, key="modle")


def test_the_memory_is_the_arrays_own() -> None:
    weight, table = torch.zeros(2), np.zeros(3)
    ours = sd.open({"w": weight, "t": table})
    weight[1], table[2] = 5, 7
    assert ours.w.numpy().tolist() == [0, 5]
    assert ours.t.numpy().tolist() == [0, 0, 7]


def test_numpy_alone_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.delitem(sys.modules, "torch.nn")
    ours = sd.open({"layer": OrderedDict(weight=np.ones((2, 3), "f2"), name="fc")})
    assert ours.layer.weight.shape == (2, 3)
    assert ours.layer["name"] == "fc"
    assert ours.layer.weight.numpy().dtype == np.float16


class JaxArray:
    """As much of `jax.Array` as reading takes: tests do without JAX, which is large."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.values, dtype)


def test_jax_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    import ml_dtypes

    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(Array=JaxArray))
    params = {"dense": {"kernel": JaxArray(np.ones((2, 3), ml_dtypes.bfloat16)), "bias": JaxArray(np.zeros(3, "f4"))}}
    ours = sd.open({"params": params})
    assert str(ours.params.dense.kernel.dtype) == "bfloat16"
    assert ours.params.dense.kernel.numpy().tolist() == [[1.0] * 3] * 2


def test_our_own_state_dict() -> None:
    first = sd.open({"a.weight": np.arange(4.0), "b": torch.eye(2).to_sparse()})
    again = sd.open(first.state_dict())
    assert again.a.weight.numpy().tolist() == [0, 1, 2, 3]
    assert again.b.to_dense().numpy().tolist() == [[1, 0], [0, 1]]


def test_a_dict_may_hold_itself() -> None:
    checkpoint: dict[str, Any] = {"w": np.zeros(2)}
    checkpoint["self"] = checkpoint
    assert sd.open(checkpoint).self.w.shape == (2,)


def test_a_dict_nested_without_end_is_refused() -> None:
    checkpoint: dict[str, Any] = {"w": np.zeros(2)}
    for _ in range(300):
        checkpoint = {"x": checkpoint}
    with pytest.raises(sd.LimitError, match=r"a dict in memory: .*nested"):
        sd.open(checkpoint)
