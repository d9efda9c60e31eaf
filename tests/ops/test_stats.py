"""`stats` beside torch, and what it says of modules, tied tensors and tensors without values."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import statedict
from statedict.dtypes import DTYPES
from statedict.errors import PatternError
from statedict.kernels import Lost, lost
from statedict.ops.stats import Stats, stats
from statedict.summary import Summary
from tests.numbers import random_elements


def small_net(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    first = nn.Linear(6, 5)
    with torch.no_grad():
        first.weight[0] = 0
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Sequential(first, nn.Linear(5, 6))).to(dtype)


def stats_of(net: nn.Module, **how: Any) -> Stats:
    return stats(statedict.open(net), **how)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_figures_are_torchs(dtype: torch.dtype) -> None:
    net = small_net(dtype)
    found = {each.name: each.summary for each in stats_of(net).tensors}
    live = net.state_dict()
    assert list(found) == list(live)
    for name, tensor in live.items():
        wide, summary = tensor.double(), found[name]
        assert (summary.min, summary.max) == (wide.min().item(), wide.max().item())
        assert summary.mean == pytest.approx(wide.mean().item(), abs=1e-15)
        assert summary.std == pytest.approx(wide.std(correction=0).item(), rel=1e-12)
        norms = [wide.norm(order).item() for order in (1, 2, float("inf"))]
        assert [summary.l1, summary.l2, summary.linf] == pytest.approx(norms, rel=1e-14)
        assert (summary.zeros, summary.count) == ((wide == 0).sum().item(), wide.numel())


def test_modules_and_all() -> None:
    net = small_net()
    found = stats_of(net)
    for name, module in net.named_modules():
        if floats := [
            tensor.double().reshape(-1) for tensor in module.state_dict().values() if tensor.is_floating_point()
        ]:
            every, summary = torch.cat(floats), found.modules[name]
            assert (summary.count, summary.min, summary.max) == (len(every), every.min(), every.max())
            assert summary.std == pytest.approx(every.std(correction=0).item(), rel=1e-12)
            assert summary.l2 == pytest.approx(every.norm().item(), rel=1e-13)
    assert found.total == found.modules[""]


def test_tied_tensors_count_once() -> None:
    net = nn.ModuleDict({"a": nn.Linear(4, 4, bias=False), "b": nn.Linear(4, 4, bias=False)})
    net["b"].weight = net["a"].weight
    found = stats_of(net)
    assert [each.names for each in found.tensors] == [("a.weight", "b.weight")]
    assert [found.modules[name].count for name in ("", "a", "b")] == [16, 16, 16]


def test_patterns_and_conditions_choose() -> None:
    model = statedict.open(small_net())
    assert [each.name for each in stats(model, "**.weight", where="ndim == 2").tensors] == ["2.0.weight", "2.1.weight"]
    with pytest.raises(PatternError):
        stats(model, "3.weight")


def test_tensors_without_values_are_named_with_the_reason() -> None:
    model = statedict.open({"m": torch.ones(3, device="meta"), "s": torch.eye(3).to_sparse(), "d": torch.ones(2)})
    found = stats(model)
    assert [each.name for each in found.tensors] == ["d"]
    assert list(found.skipped) == ["m", "s"]
    assert "without its values" in found.skipped["m"]
    assert "sparse_coo" in found.skipped["s"]
    assert stats(model, "m").total == Summary()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_quantiles_counts_and_casts(dtype: torch.dtype, tmp_path: Path) -> None:
    values = torch.randn(50_001, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    values[:3] = torch.tensor([1e6, -1e9, 1e-30])
    torch.save({"w": values, "n": torch.arange(5)}, tmp_path / "w.pt")
    found = stats(statedict.open(tmp_path / "w.pt"), quantiles=(0.1, 0.5), counts=True, if_cast="f16").tensors
    wide = values.double().numpy()
    assert list(found[0].quantiles.values()) == pytest.approx(np.quantile(wide, (0.1, 0.5)).tolist(), rel=1e-15)
    assert found[1].quantiles == {0.1: 0.4, 0.5: 2.0}
    assert found[0].distinct == (len(np.unique(wide)) if dtype is torch.bfloat16 else None)
    assert found[0].histogram(4)[0] == np.histogram(wide, 4)[0].tolist()
    assert found[0].lost == Lost(2, int(((values != 0) & (values.half() == 0)).sum()))


def test_what_was_not_asked_for_is_absent() -> None:
    (found, *_) = stats_of(small_net()).tensors
    assert (found.quantiles, found.spread, found.lost, found.distinct, found.histogram()) == (
        {},
        None,
        None,
        None,
        ([], []),
    )


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32"])
def test_what_a_cast_loses(name: str) -> None:
    values = random_elements("float32", 20_000)
    wide, target = torch.from_numpy(values), getattr(torch, name)
    largest = 464 if name == "float8_e4m3fn" else None  # torch saturates; beyond this it would round to more than 448
    cast = wide.to(target).float()
    beyond = wide.isfinite() & (wide.abs() > largest if largest else ~cast.isfinite())
    expected = Lost(int(beyond.sum()), int(((wide != 0) & (cast == 0)).sum()))
    assert lost(DTYPES["float32"], values, DTYPES[name]) == expected


def test_wrong_questions_are_answered() -> None:
    model = statedict.open(small_net())
    with pytest.raises(ValueError, match=r"the quantile 1.5 is none: expected a number from 0 to 1"):
        stats(model, quantiles=(0.5, 1.5))
    with pytest.raises(ValueError, match="`int8` is no floating-point type"):
        stats(model, if_cast="int8")


def test_no_tensor_and_empty_ones() -> None:
    assert stats(statedict.open(nn.ReLU())) == Stats(())
    found = stats(statedict.open({"e": torch.empty(0, 3)}), quantiles=(0.5,), counts=True)
    assert (found.tensors[0].summary, found.tensors[0].quantiles) == (Summary(), {})


def test_results_pickle() -> None:
    found = stats_of(small_net(), quantiles=(0.5,))
    assert pickle.loads(pickle.dumps(found)).total == found.total
