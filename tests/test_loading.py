"""`load_into`: what PyTorch's `load_state_dict` makes of the same checkpoint, bit for bit and word for word."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

import statedict as sd
from tests import architectures
from tests.loading_twice import Tied, assert_same_state, ours, scrambled, theirs
from tests.test_whole_models import lstm_of_one_storage, nested_containers, shared_module, tied
from tests.torch_layers import every_layer

LAYERS = every_layer()


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


def test_tied_tensors_need_one_name(tmp_path: Path) -> None:
    net = Tied()
    safetensors.torch.save_model(net, str(tmp_path / "net.safetensors"))
    mine = Tied()
    result = sd.load_into(mine, tmp_path / "net.safetensors")
    assert_same_state(mine, net)
    assert result.missing_keys == []
    assert {"head.weight", "embedding.weight"} <= set(result.loaded)


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
