"""`stats` beside torch, and what it says of modules, tied tensors and tensors without values."""

import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

import statedict
from statedict.dtypes import DTYPES
from statedict.errors import PatternError
from statedict.kernels import Lost, lost
from statedict.moments import Summary
from statedict.ops.stats import Stats, histogram, stats
from tests.numbers import random_elements
from tests.test_engine import Watched


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_quantiles_of_modules_are_those_of_all_numbers_in_them(dtype: torch.dtype) -> None:
    net = nn.Sequential(nn.Linear(30, 40), nn.Sequential(nn.Linear(40, 50), nn.BatchNorm1d(50))).to(dtype)
    net[1][1].running_mean.fill_(torch.nan)  # type: ignore[union-attr]
    net.register_parameter("tied", net.get_parameter("0.weight"))
    shares = (0.0, 0.01, 0.5, 0.9)
    found = stats(statedict.open(net), quantiles=shares, module_quantiles=True)
    assert list(found.quantiles) == list(found.modules) == ["", "0", "1", "1.0", "1.1"]
    for name, module in net.named_modules():
        once = {id(each): each for each in (*module.parameters(), *module.buffers()) if each.is_floating_point()}
        wide = torch.cat([each.detach().reshape(-1).double() for each in once.values()]).numpy()
        expected = np.quantile(wide[np.isfinite(wide)], shares).tolist()
        assert list(found.quantiles[name]) == list(shares)
        assert list(found.quantiles[name].values()) == pytest.approx(expected, rel=1e-15)
    assert stats(statedict.open(net), quantiles=shares).quantiles == {}


def test_modules_of_several_types_have_no_quantiles() -> None:
    model = statedict.open({"a": {"w": torch.ones(3), "v": torch.ones(2).half()}, "b": {"w": torch.ones(3).half()}})
    found = stats(model, quantiles=(0.5,), module_quantiles=True)
    assert found.quantiles == {"": {}, "a": {}, "b": {0.5: 1.0}}


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


# What is asked for beside


def with_zeros() -> nn.Module:
    net = small_net()
    with torch.no_grad():
        net.get_parameter("0.weight")[[1, 4]] = 0
        net.get_parameter("0.weight")[:, 2] = 0
        net.get_parameter("2.1.weight")[:, 1::2] = 0
    return net


def test_the_structure_of_zeros() -> None:
    found = {each.name: each.structure for each in stats_of(with_zeros(), structure=True).tensors}
    assert [name for name, each in found.items() if each is not None] == ["0.weight", "2.0.weight", "2.1.weight"]
    kernel, first, second = (found[name] for name in ("0.weight", "2.0.weight", "2.1.weight"))
    assert kernel is not None
    assert first is not None
    assert second is not None
    assert {name: each.indices for name, each in kernel.dead.items()} == {
        "output_channels": (1, 4),
        "input_channels": (2,),
    }
    assert {name: each.indices for name, each in first.dead.items()} == {"rows": (0,), "columns": ()}
    assert {name: each.indices for name, each in second.dead.items()} == {"rows": (), "columns": (1, 3)}
    assert (kernel.pattern, second.pattern) == (None, None)  # 3 and 5 inputs: no tensor core takes them


def test_the_summary_is_the_same_with_the_structure() -> None:
    for plain, both in zip(stats_of(with_zeros()).tensors, stats_of(with_zeros(), structure=True).tensors, strict=True):
        assert repr(plain.summary) == repr(both.summary)


def test_a_histogram_of_several_tensors() -> None:
    net = small_net(torch.bfloat16)
    found = stats_of(net, counts=True)
    every = np.concatenate([each.double().numpy().ravel() for each in net.get_submodule("2").state_dict().values()])
    counts, edges = histogram(found.within["2"], 7)
    assert (counts, edges) == tuple(each.tolist() for each in np.histogram(every, 7))
    assert histogram([each for each in found.tensors if each.spread is None]) == ([], [])


def test_counts_that_only_quantiles_needed_are_not_kept() -> None:
    found = stats_of(small_net(), quantiles=(0.5,)).tensors[0]
    assert (found.spread, list(found.quantiles)) == (None, [0.5])


# What models there are


def test_lazily_edited_tensors() -> None:
    net = small_net()
    model = statedict.open(net)
    merged = statedict.cast(model, "bf16")
    for each in stats(merged, structure=True, spectrum=1).tensors:
        live = net.state_dict()[each.name]
        wide = (live.bfloat16() if live.is_floating_point() else live).double()
        assert (each.summary.min, each.summary.max) == (wide.min().item(), wide.max().item())
        assert each.summary.l2 == pytest.approx(wide.norm().item(), rel=1e-13)
    half = model.get_parameter("2.0.weight") * 0.5
    (found,) = stats(statedict.open({"w": half}), structure=True).tensors
    assert found.summary.linf == net.get_parameter("2.0.weight").abs().max().item() / 2


def test_sharded_folders(tmp_path: Path) -> None:
    net = with_zeros()
    statedict.save(statedict.open(net), tmp_path / "shards", max_shard_size=300)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    found = stats(statedict.open(tmp_path / "shards"), structure=True, spectrum=2, counts=True)
    expected = {each.name: each for each in stats_of(net, structure=True, spectrum=2, counts=True).tensors}
    for each in found.tensors:
        same = expected[each.name]
        assert (each.summary, each.structure, each.distinct) == (same.summary, same.structure, same.distinct)
        assert (each.spectrum is None) == (same.spectrum is None)


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "Q6_K"])
def test_blocks_are_decoded_first(kind: str, tmp_path: Path) -> None:
    import gguf

    values = np.random.default_rng(0).standard_normal((8, 512)).astype("f4")
    values[3] = 0
    blocks = getattr(gguf.GGMLQuantizationType, kind)
    stored = np.frombuffer(random_blocks(values, blocks), "u1").reshape(8, -1)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tensor("w", stored, raw_dtype=blocks)
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()
    wide = gguf.quants.dequantize(stored, blocks).astype("f8")
    (found,) = stats(statedict.open(tmp_path / "m.gguf"), structure=True, spectrum=3, counts=True).tensors
    assert (found.summary.min, found.summary.max, found.summary.count) == (wide.min(), wide.max(), 8 * 512)
    assert found.structure is not None
    assert found.spectrum is not None
    assert found.structure.dead["rows"].indices == (3,)
    assert found.spectrum.values == pytest.approx(np.linalg.svd(wide, compute_uv=False)[:3].tolist(), rel=1e-9)


def random_blocks(values: Any, kind: Any) -> bytes:
    """Blocks of that kind that stand for about these values; zeros stay zeros."""
    import gguf

    try:
        return gguf.quants.quantize(values, kind).tobytes()
    except NotImplementedError:  # the package only decodes it
        size = gguf.GGML_QUANT_SIZES[kind][1]
        blocks = np.random.default_rng(1).integers(0, 256, (8, 2, size), "u1")
        blocks[..., -2:] = np.array([0.25], "f2").view("u1")  # the scale of a Q6_K block is its last two bytes
        blocks[3, :, -2:] = 0
        return blocks.tobytes()


def test_the_bytes_of_chosen_tensors_are_read_once() -> None:
    kinds = (torch.bfloat16, torch.float32, torch.int8)
    state = {f"{at}.weight": torch.ones(700, 1000).to(kind) for at, kind in enumerate(kinds)}
    state["0.bias"] = torch.ones(9)
    source = Watched(save(state))
    model = statedict.open(source)
    source.reads.clear()
    found = stats(model, "*.weight", counts=True, if_cast="f16", threads=1)
    begins = sorted(source.reads)
    assert sum(size for _, size in begins) == sum(each.info.nbytes for each in found.tensors) == 700 * 1000 * 7
    assert all(begin + size <= after for (begin, size), (after, _) in itertools.pairwise(begins))
