"""`load_into`: what PyTorch's `load_state_dict` makes of the same checkpoint, bit for bit and word for word."""

import copy
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

import statedict as sd
from statedict.source import FileSource
from tests import architectures
from tests.same import bits
from tests.test_whole_models import lstm_of_one_storage, nested_containers, shared_module, tied
from tests.torch_layers import every_layer

LAYERS = every_layer()
DTYPES = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "int64", "int8", "uint8", "bool", "complex64")


def scrambled(net: Any) -> Any:
    """A copy with other values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of deprecated classes
        made = pickle.loads(pickle.dumps(net)) if isinstance(net, LazyModuleMixin) else copy.deepcopy(net)
    with torch.no_grad():
        for tensor in made.state_dict(keep_vars=True).values():
            if isinstance(tensor, torch.Tensor) and not torch.nn.parameter.is_lazy(tensor):
                tensor.fill_(3)
    return made


def theirs(net: nn.Module, state: Mapping[str, Any], strict: bool = True) -> Any:
    """What PyTorch's own way returns, or the text of its error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return net.load_state_dict(state, strict=strict)
        except RuntimeError as error:
            return str(error)


def ours(net: nn.Module, checkpoint: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch warns of complex numbers that lose their imaginary part
        try:
            return sd.load_into(net, checkpoint, **options)
        except RuntimeError as error:
            return str(error)


def plain(value: Any) -> Any:
    """A value of a state dict, to be compared."""
    if isinstance(value, torch.Tensor):
        lazy = torch.nn.parameter.is_lazy(value)
        return (
            (value.dtype, None) if lazy else (value.dtype, value.shape, value.stride(), str(value.device), bits(value))
        )
    return value


def assert_same_state(one: nn.Module, other: nn.Module) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert {name: plain(value) for name, value in first.items()} == {
        name: plain(value) for name, value in second.items()
    }


def assert_loads_as_in_torch(net: nn.Module, path: Path) -> None:
    torch.save(net.state_dict(), path)
    mine, reference = scrambled(net), scrambled(net)
    said = theirs(reference, torch.load(path, weights_only=False))
    result = ours(mine, path)
    if isinstance(said, str):
        assert result == said
    else:
        assert tuple(result) == tuple(said)
        assert repr(result) == repr(said)
        wanted = {name for name, each in net.named_parameters() if not torch.nn.parameter.is_lazy(each)}
        assert set(result.loaded) >= wanted
    assert_same_state(mine, reference)


@pytest.mark.parametrize("number", range(len(LAYERS)), ids=[f"{i}-{type(m).__name__}" for i, m in enumerate(LAYERS)])
def test_every_torch_nn_class(number: int, tmp_path: Path) -> None:
    assert_loads_as_in_torch(LAYERS[number], tmp_path / "net.pt")


@pytest.mark.parametrize("make", [tied, shared_module, nested_containers, lstm_of_one_storage])
def test_models_of_every_shape(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    assert_loads_as_in_torch(make(), tmp_path / "net.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["gpt2", "llama", "t5", "bert", "whisper", "deepseek_v3", "wav2vec2", "mixtral", "clip"]
)
def test_transformers(name: str, tmp_path: Path) -> None:
    assert_loads_as_in_torch(architectures.make(name), tmp_path / "net.pt")


def faulty(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """State dicts with something wrong, by what it is."""
    tensors = [name for name, value in state.items() if isinstance(value, torch.Tensor)]
    first, last = tensors[0], tensors[-1]
    return {
        "missing": {name: value for name, value in state.items() if name != first},
        "all missing": {},
        "unexpected": {**state, "other": torch.ones(2), "other.weight": torch.ones(2)},
        "deep": {**state, f"{first}.more": torch.ones(1), "a.b.c": torch.ones(1)},
        "renamed": {f"model.{name}": value for name, value in state.items()},
        "size": {**state, last: torch.ones(7, 5, 3)},
        "sizes and more": {**{name: torch.ones(1, 2, 3, 4) for name in state}, "x": torch.ones(1)},
        "no tensor": {**state, last: 3},
        "a list": {**state, last: [1, 2]},
        "nested": {"model": state, "epoch": 3},
        "extra state": {**state, "_extra_state": torch.ones(1)},
    }


def every_fault() -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for number in range(0, len(LAYERS), 3):
        state = LAYERS[number].state_dict()
        if state and not any(torch.nn.parameter.is_lazy(value) for value in state.values()):
            found += [(number, fault) for fault in faulty(state)]
    return found


@pytest.mark.parametrize(("number", "fault"), every_fault())
def test_faults_are_told_in_the_same_words_and_change_nothing(number: int, fault: str, tmp_path: Path) -> None:
    net = LAYERS[number]
    torch.save(faulty(net.state_dict())[fault], tmp_path / "net.pt")
    mine, reference = scrambled(net), scrambled(net)
    before = scrambled(net)
    said = theirs(reference, torch.load(tmp_path / "net.pt"))
    result = ours(mine, tmp_path / "net.pt")
    if isinstance(said, str):
        assert result.startswith(said)
        assert_same_state(mine, before)
    else:
        assert tuple(result) == tuple(said)
        assert_same_state(mine, reference)


@pytest.mark.parametrize("fault", ["missing", "all missing", "unexpected", "deep", "renamed", "nested", "size"])
def test_not_strict(fault: str, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    torch.save(faulty(net.state_dict())[fault], tmp_path / "net.pt")
    mine, reference = scrambled(net), scrambled(net)
    said = theirs(reference, torch.load(tmp_path / "net.pt"), strict=False)
    result = ours(mine, tmp_path / "net.pt", strict=False)
    if fault == "size":
        assert result.startswith(said)
        assert_same_state(mine, scrambled(net))
        return
    assert tuple(result) == tuple(said)
    assert_same_state(mine, reference)
    assert set(result.untouched) == set(result.missing_keys)
    assert set(result.loaded) == set(net.state_dict()) - set(result.missing_keys)


@pytest.mark.parametrize("to", DTYPES)
def test_casts_as_copy_does(to: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(70, 9, generator=generator) * 100
    values[0, :4] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-42])
    if "int" in to or to == "bool":
        values = values.nan_to_num(5.0, 6.0)  # what these become of a whole number is not defined
    state = {
        f"of {name}": (
            values + 1j
            if "complex" in name
            else values.abs().clamp(max=99)
            if "u" in name
            else values.clamp(-99, 99)
            if "int" in name
            else values
        ).to(getattr(torch, name))
        for name in DTYPES
    }
    torch.save(state, tmp_path / "values.pt")
    mine, reference = (_holder({name: torch.ones(70, 9, dtype=getattr(torch, to)) for name in state}) for _ in range(2))
    theirs(reference, state)
    result = ours(mine, tmp_path / "values.pt")
    assert_same_state(mine, reference)
    assert result.cast == {f"of {name}": (name, to) for name in DTYPES if name != to}


def _holder(tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    made = nn.Module()
    for name, tensor in tensors.items():
        made.register_buffer(name, tensor)
    return made


@pytest.mark.parametrize(
    "stored", [lambda t: t, lambda t: t.t().contiguous().t(), lambda t: t.repeat(1, 2)[:, 1::2][:, :300]]
)
@pytest.mark.parametrize(
    "live", [lambda t: t, lambda t: t.t().contiguous().t(), lambda t: t.repeat(2, 3)[::2, ::3][:2000]]
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_strides_of_either_side(stored: Any, live: Any, dtype: str, tmp_path: Path) -> None:
    values = torch.arange(600_000.0).reshape(2000, 300) % 2039
    torch.save({"w": stored(values)}, tmp_path / "w.pt")
    room = live(torch.zeros(2000, 300, dtype=getattr(torch, dtype)))
    net = _holder({"w": room})
    sd.load_into(net, tmp_path / "w.pt")
    assert torch.equal(room, torch.load(tmp_path / "w.pt")["w"].to(room.dtype))
    assert net.get_buffer("w") is room


def test_memory_outside_a_view_is_not_touched(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(4, 3)}, tmp_path / "w.pt")
    whole = torch.zeros(6, 5)
    sd.load_into(_holder({"w": whole[1:5, 1:4]}), tmp_path / "w.pt")
    assert whole.sum() == 12
    assert whole[1:5, 1:4].sum() == 12


def test_views_of_one_memory_are_written_in_their_order(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(6), "b": torch.full((6,), 2.0), "c": torch.full((3,), 3.0)}, tmp_path / "w.pt")
    whole = torch.zeros(8)
    sd.load_into(_holder({"a": whole[:6], "b": whole[2:], "c": whole[4:7]}), tmp_path / "w.pt")
    assert whole.tolist() == [1, 1, 2, 2, 3, 3, 3, 2]


def test_autograd_learns_that_values_changed(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    loss = net(net(torch.ones(2))).sum()
    sd.load_into(net, tmp_path / "net.pt")
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_each_form_of_checkpoint(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    torch.save(net, tmp_path / "whole.pt")
    safetensors.torch.save_file(net.state_dict(), tmp_path / "net.safetensors")
    sd.save(sd.open(net), tmp_path / "net.npz")
    forms = (
        tmp_path / "whole.pt",
        tmp_path / "net.safetensors",
        tmp_path / "net.npz",
        net,
        sd.open(net),
        net.state_dict(),
    )
    for form in (*forms, (tmp_path / "net.safetensors").read_bytes()):
        mine = scrambled(net)
        assert sd.load_into(mine, form).loaded == tuple(net.state_dict())
        assert_same_state(mine, net)
    mine = scrambled(net)
    assert sd.load_into(sd.open(mine), net).untouched == ()
    assert_same_state(mine, net)


def test_a_part_of_a_checkpoint(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    torch.save({"epoch": 3, "model": nn.DataParallel(net).state_dict()}, tmp_path / "last.ckpt")
    mine = scrambled(net)
    with pytest.raises(
        RuntimeError, match=r"All 7 names of the model are in .* part `model.module`: pass `key='model.module'`"
    ):
        sd.load_into(mine, tmp_path / "last.ckpt")
    assert_same_state(mine, scrambled(net))
    sd.load_into(mine, tmp_path / "last.ckpt", key="model.module")
    assert_same_state(mine, net)
    with pytest.raises(sd.StatedictError, match="has no module `modle`; did you mean `model`"):
        sd.load_into(mine, tmp_path / "last.ckpt", key="modle")


# The meta device


def _on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.norm = nn.BatchNorm1d(4)
        self.rnn = nn.LSTM(4, 4)
        self.frozen = nn.Parameter(torch.ones(3, dtype=torch.bfloat16), requires_grad=False)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("positions", torch.arange(4), persistent=False)


def test_meta_models_come_to_life(tmp_path: Path) -> None:
    net = Tied()
    net.frozen.extra = "kept"  # type: ignore[attr-defined]
    torch.save(net.state_dict(), tmp_path / "net.pt")
    mine: Any = _on_meta(Tied)
    mine.frozen.extra = "kept"
    result = sd.load_into(mine, tmp_path / "net.pt")
    assert_same_state(mine, net)
    assert mine.head.weight is mine.embedding.weight
    assert not mine.frozen.requires_grad
    assert mine.frozen.extra == "kept"
    assert mine.rnn(torch.zeros(1, 1, 4))[0].shape == (1, 1, 4)
    assert result.untouched == ("positions",)
    assert mine.positions.is_meta


def test_meta_models_with_code_of_their_own(tmp_path: Path) -> None:
    def make() -> nn.Module:
        return nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))

    net = make()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    mine = _on_meta(make)
    sd.load_into(mine, tmp_path / "net.pt")
    assert torch.equal(mine(torch.ones(3)), net(torch.ones(3)))


def test_a_fault_leaves_a_meta_model_on_meta(tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 2, bias=False).state_dict(), tmp_path / "net.pt")
    mine = _on_meta(lambda: nn.Linear(3, 2))
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"bias\""):
        sd.load_into(mine, tmp_path / "net.pt")
    assert all(each.is_meta for each in mine.parameters())
    assert sd.load_into(mine, tmp_path / "net.pt", strict=False).untouched == ("bias",)
    assert [each.is_meta for each in mine.parameters()] == [False, True]


# Hooks, versions, code of the modules' own


class Recorder(nn.Module):
    """Loading code that uses its values, pops keys, and sets attributes to what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0))
        self.inner = nn.Linear(2, 2)
        self.register_buffer("scale", torch.ones(1))
        self.sums: list[float] = []

    def _load_from_state_dict(self, state_dict: Any, prefix: Any, *rest: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        old = state_dict.pop(prefix + "old", None)
        if old is not None:
            assert type(old) is torch.Tensor
            state_dict[prefix + "weight"] = torch.cat([old, old])
            state_dict[prefix + "inner.weight"] = state_dict.pop(prefix + "inner.w")
        if prefix + "scale" in state_dict:
            self.scale = state_dict[prefix + "scale"]
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self.sums.append(float(self.weight.sum()))


def test_modules_that_load_themselves(tmp_path: Path) -> None:
    net = nn.Sequential(Recorder(), nn.Linear(2, 2))
    old: dict[str, Any] = dict(net.state_dict())
    del old["0.weight"]
    old |= {"0.old": torch.full((3,), 5.0), "0.inner.w": old.pop("0.inner.weight"), "0.scale": torch.full((1,), 4.0)}
    for state in (net.state_dict(), old):
        torch.save(state, tmp_path / "net.pt")
        mine, reference = scrambled(net), scrambled(net)
        theirs(reference, torch.load(tmp_path / "net.pt"))
        result = sd.load_into(mine, tmp_path / "net.pt")
        assert_same_state(mine, reference)
        assert mine[0].sums == reference[0].sums
        assert result.untouched == ()
        assert "_load_from_state_dict" not in vars(mine[0])


def test_hooks_before_and_after(tmp_path: Path) -> None:
    class Hooked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body: Any = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
            self.doubled = torch.zeros(())
            self.register_load_state_dict_pre_hook(self.before)
            self.register_load_state_dict_post_hook(self.after)

        def before(self, _: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
            for name in [name for name in state if name.startswith(prefix + "trunk.")]:
                state[prefix + "body." + name.removeprefix(prefix + "trunk.")] = state.pop(name)
            if prefix + "body.1.weight" not in state:
                state[prefix + "body.1.weight"] = state[prefix + "body.0.weight"] * 2

        def after(self, _: nn.Module, keys: Any) -> None:
            self.doubled = self.body[0].weight.sum() * 2
            keys.unexpected_keys.clear()

    net = nn.Sequential(Hooked())
    state = {
        name.replace("body", "trunk"): value for name, value in net.state_dict().items() if name != "0.body.1.weight"
    }
    torch.save({**state, "0.trunk.gone": torch.ones(1)}, tmp_path / "net.pt")
    mine, reference = scrambled(net), scrambled(net)
    said = theirs(reference, torch.load(tmp_path / "net.pt"))
    assert tuple(sd.load_into(mine, tmp_path / "net.pt")) == tuple(said)
    assert_same_state(mine, reference)
    assert torch.equal(mine[0].doubled, reference[0].doubled)
    assert len(mine[0]._load_state_dict_post_hooks) == 1


def test_what_hooks_leave_in_the_model_is_read(tmp_path: Path) -> None:
    net: Any = nn.Module()

    def keep(module: Any, state: Mapping[str, Any], *rest: Any) -> None:
        module.resized = nn.Parameter(state["resized"])
        module.seen = state["resized"]

    net.register_parameter("resized", nn.Parameter(torch.ones(1)))
    net.register_load_state_dict_pre_hook(keep)
    torch.save({"resized": torch.arange(3.0)}, tmp_path / "net.pt")
    result = sd.load_into(net, tmp_path / "net.pt")
    assert result.loaded == ("resized",)
    assert type(net.seen) is torch.Tensor
    assert type(net.resized) is nn.Parameter
    assert net.resized.tolist() == net.seen.tolist() == [0, 1, 2]


def test_a_model_with_its_own_load_state_dict(tmp_path: Path) -> None:
    class Own(nn.Linear):
        total = 0.0

        def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
            keys = super().load_state_dict({name.upper().lower(): value for name, value in state_dict.items()}, strict)
            self.total = float(self.weight.sum())
            return keys

    net = Own(3, 2)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    mine = scrambled(net)
    sd.load_into(mine, tmp_path / "net.pt")
    assert mine.total == float(net.weight.sum())


def test_versions_bring_old_files_up_to_date(tmp_path: Path) -> None:
    net: Any = nn.Sequential(nn.BatchNorm1d(3))
    state: Any = OrderedDict((name, value) for name, value in net.state_dict().items() if "num" not in name)
    for version in (None, 1, 2):
        state._metadata = OrderedDict() if version is None else OrderedDict({"0": {"version": version}})
        torch.save(state, tmp_path / "net.pt")
        mine, reference = scrambled(net), scrambled(net)
        said = theirs(reference, torch.load(tmp_path / "net.pt"))
        result = ours(mine, tmp_path / "net.pt")
        assert result.startswith(said) if version == 2 else tuple(result) == tuple(said)
    del state._metadata
    sd.load_into(net, {name: value + 1 for name, value in state.items()})
    assert net[0].bias.tolist() == [1, 1, 1]


def test_extra_state(tmp_path: Path) -> None:
    class Counting(nn.Linear):
        state: Any = None

        def get_extra_state(self) -> Any:
            return self.state

        def set_extra_state(self, state: Any) -> None:
            self.state = state

    net: Any = nn.Sequential(Counting(2, 2))
    for state in (
        {"steps": 4, "mean": torch.ones(2), "how": torch.float16, "rows": [torch.zeros(1), 2]},
        3,
        torch.ones(3),
        None,
    ):
        net[0].state = state
        torch.save(net.state_dict(), tmp_path / "net.pt")
        mine: Any = nn.Sequential(Counting(2, 2))
        result = sd.load_into(mine, tmp_path / "net.pt")
        assert str(mine[0].state) == str(state)
        assert "0._extra_state" in result.loaded
    torch.save(nn.Sequential(nn.Linear(2, 2)).state_dict(), tmp_path / "net.pt")
    assert ours(mine, tmp_path / "net.pt").startswith(str(theirs(mine, torch.load(tmp_path / "net.pt"))))


def test_tied_tensors_need_one_name(tmp_path: Path) -> None:
    net = Tied()
    safetensors.torch.save_model(net, str(tmp_path / "net.safetensors"))
    mine = Tied()
    result = sd.load_into(mine, tmp_path / "net.safetensors")
    assert_same_state(mine, net)
    assert result.missing_keys == []
    assert {"head.weight", "embedding.weight"} <= set(result.loaded)


def test_quantised_modules(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    quantize: Any = cast("Any", torch.ao.quantization).quantize_dynamic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: Any = quantize(net, {nn.Linear}, dtype=torch.qint8)
        mine: Any = quantize(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), {nn.Linear})
        torch.save(made.state_dict(), tmp_path / "net.pt")
        result = sd.load_into(mine, tmp_path / "net.pt")
    assert torch.equal(mine(torch.ones(1, 4)), made(torch.ones(1, 4)))
    assert set(result.loaded) == set(made.state_dict())


def test_scripted_modules(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine: Any = torch.jit.script(scrambled(net))
    result = sd.load_into(mine, tmp_path / "net.pt")
    assert_same_state(mine, net)
    assert result.untouched == ()


def test_swapping_instead_of_copying(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    mine = scrambled(net)
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        assert sd.load_into(mine, tmp_path / "net.pt").untouched == ()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    assert_same_state(mine, net)


# Renamed checkpoints


def test_matched_names(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    renamed = {
        f"net.{name}".replace("net.0", "stem").replace("net.1", "bn"): value for name, value in net.state_dict().items()
    }
    torch.save(renamed, tmp_path / "net.pt")
    mine = scrambled(net)
    with pytest.raises(RuntimeError, match=r"All 9 tensors are found with `match=True`, by `.* = .*`"):
        sd.load_into(mine, tmp_path / "net.pt")
    result = sd.load_into(mine, tmp_path / "net.pt", match=True)
    assert_same_state(mine, net)
    assert result.loaded == tuple(net.state_dict())
    assert result.match is not None
    assert [str(rule) for rule in result.match.rules]


def test_what_no_match_finds_is_said(tmp_path: Path) -> None:
    net: Any = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2))
    torch.save(
        {"net.0.weight": net[0].weight, "net.0.bias": net[0].bias, "other": torch.ones(9, 9)}, tmp_path / "net.pt"
    )
    mine = scrambled(net)
    text = ours(mine, tmp_path / "net.pt", match=True)
    assert 'Missing key(s) in state_dict: "1.weight", "1.bias". ' in text
    assert 'Unexpected key(s) in state_dict: "other". ' in text
    assert "No tensor of the checkpoint is `1.weight`, `1.bias`." in text
    assert_same_state(mine, scrambled(net))
    result = sd.load_into(mine, tmp_path / "net.pt", match=True, strict=False)
    assert result.loaded == ("0.weight", "0.bias")
    assert result.untouched == ("1.weight", "1.bias")
    assert torch.equal(mine[0].weight, net[0].weight)


# What it costs, and what it refuses


def test_each_byte_is_read_once_and_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Linear(2048, 4096, bias=False)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    tree = sd.open(tmp_path / "net.pt")
    reads: list[int] = []
    source = type(tree.get_parameter("weight").info.extent.source)  # type: ignore[union-attr]
    plain_read = source.readinto_at

    def counted(self: Any, offset: int, buffer: memoryview) -> None:
        reads.append(len(buffer))
        plain_read(self, offset, buffer)

    monkeypatch.setattr(source, "readinto_at", counted)
    for mine, most in ((scrambled(net), 1 << 23), (scrambled(net).bfloat16(), 1 << 20)):
        reads.clear()
        sd.load_into(mine, tree)
        assert sum(reads) == 2048 * 4096 * 4
        assert max(reads) <= most
        assert torch.equal(mine.weight, net.weight.to(mine.weight.dtype))


def test_progress_and_threads(tmp_path: Path) -> None:
    net = nn.Sequential(*(nn.Linear(8, 8) for _ in range(5)))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    for threads in (1, 3):
        told: list[tuple[int, int]] = []
        mine = scrambled(net)
        sd.load_into(
            mine,
            tmp_path / "net.pt",
            threads=threads,
            progress=lambda done, total, told=told: told.append((done, total)),
        )
        assert told[-1] == (5 * 72 * 4, 5 * 72 * 4)
        assert_same_state(mine, net)


def test_a_file_that_ends_while_it_is_read(tmp_path: Path) -> None:
    net = nn.Linear(1000, 1000)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    tree = sd.open(tmp_path / "net.pt")
    with (tmp_path / "net.pt").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(sd.FormatError, match="truncated") as caught:
        sd.load_into(net, tree)
    assert caught.value.__notes__ == ["Some of the model's tensors may have been loaded before that: load it again."]
    mine = _on_meta(lambda: nn.Linear(1000, 1000))
    with pytest.raises(sd.FormatError, match="truncated"):
        sd.load_into(mine, tree)
    assert all(each.is_meta for each in mine.parameters())


def test_sharded_models_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "net.pt")
    dtensor: Any = type("DTensor", (torch.Tensor,), {"__module__": "torch.distributed.tensor"})
    net = nn.Linear(2, 2)
    net.register_buffer("part", torch.ones(2).as_subclass(dtensor))
    with pytest.raises(sd.StatedictError, match=r"`part` is a DTensor, .* load it before it is sharded"):
        sd.load_into(net, tmp_path / "net.pt")
    fsdp = type("FullyShardedDataParallel", (nn.Linear,), {})
    with pytest.raises(sd.StatedictError, match="is wrapped in FullyShardedDataParallel, "):
        sd.load_into(fsdp(2, 2), tmp_path / "net.pt")


def test_what_is_no_model_or_no_checkpoint(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "net.pt")
    with pytest.raises(TypeError, match=r"expected a live torch\.nn\.Module, not"):
        sd.load_into(sd.open(tmp_path / "net.pt"), tmp_path / "net.pt")
    with pytest.raises(sd.ReadError, match="cannot be opened"):
        sd.load_into(nn.Linear(2, 2), tmp_path / "none.pt")
    (tmp_path / "empty.pt").touch()
    with pytest.raises(sd.UnknownFormatError, match="empty"):
        sd.load_into(nn.Linear(2, 2), tmp_path / "empty.pt")


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_meta_models_over_the_pages_of_a_file(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net: Any = Tied()
    path = tmp_path / f"net.{suffix}"
    if suffix == "pt":
        net.rnn.weight_ih_l0.data = net.rnn.weight_ih_l0.data.t().contiguous().t()
        torch.save(net.state_dict(), path)
    else:
        safetensors.torch.save_model(net, str(path))
    stored = path.read_bytes()
    mine: Any = _on_meta(Tied)
    tree = sd.open(path)
    monkeypatch.setattr(FileSource, "readinto_at", None)  # nothing is read
    result = sd.load_into(mine, tree, mmap=True)
    assert {name: bits(value) for name, value in mine.state_dict().items()} == {
        name: bits(value) for name, value in net.state_dict().items()
    }
    assert mine.head.weight is mine.embedding.weight
    assert result.untouched == ("positions",)
    with torch.no_grad():
        mine.head.weight.fill_(9)
    assert path.read_bytes() == stored
    path.unlink()
    assert mine.frozen.tolist() == [1, 1, 1]


def test_pages_of_a_file_are_not_taken_where_they_do_not_fit(tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    mine = _on_meta(lambda: nn.Linear(3, 2, dtype=torch.bfloat16))
    sd.load_into(mine, tmp_path / "net.pt", mmap=True)
    assert torch.equal(mine.get_parameter("weight"), net.weight.bfloat16())
    live = scrambled(net)
    sd.load_into(live, tmp_path / "net.pt", mmap=True)
    assert_same_state(live, net)
    np.savez_compressed(tmp_path / "net.npz", **{name: value.numpy() for name, value in net.state_dict().items()})
    mine = _on_meta(lambda: nn.Linear(3, 2))
    sd.load_into(mine, tmp_path / "net.npz", mmap=True)
    assert_same_state(mine, net)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_contexts_that_change_what_pytorch_makes(dtype: torch.dtype, tmp_path: Path) -> None:
    net: Any = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    contexts: list[Any] = [torch.inference_mode(), torch.device("meta"), torch.no_grad()]
    for context in contexts:
        mine = scrambled(net).to(dtype)
        with context:
            assert sd.load_into(mine, tmp_path / "net.pt", threads=2).untouched == ()
        assert {name: value.dtype for name, value in mine.state_dict().items()}["0.weight"] is dtype
        assert torch.equal(mine[0].weight, net[0].weight.to(dtype))
    with torch.inference_mode():
        mine = scrambled(net).to(dtype)  # tensors that PyTorch lets nobody else write to
        assert sd.load_into(mine, tmp_path / "net.pt").untouched == ()
        assert torch.equal(mine[0].weight, net[0].weight.to(dtype))
        mine[0].weight.zero_()
    reference = ours(mine, tmp_path / "net.pt")
    assert "Inplace update to inference tensor outside InferenceMode is not allowed" in reference
