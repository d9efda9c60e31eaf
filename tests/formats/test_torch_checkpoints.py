"""What people save with `torch.save`: training checkpoints, whole modules, state dicts of them."""

import io
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils import parametrizations, prune

from statedict.index import Index
from statedict.opaque import Opaque
from tests.formats.stored import (
    assert_same,
    assert_same_tensors,
    index_of,
    loaded,
    saved_in_stream,
)
from tests.formats.torch_saves import Save, both


def optimizers() -> dict[str, Any]:
    net = torch.nn.Linear(2, 2)
    adam = torch.optim.Adam(net.parameters(), lr=0.1)
    net(torch.ones(1, 2)).sum().backward()
    adam.step()
    return {"net": net, "adam": adam, "scheduler": torch.optim.lr_scheduler.StepLR(adam, 3)}


@both
def test_a_training_checkpoint(save: Save) -> None:
    live = optimizers()
    checkpoint = {
        "model": live["net"].state_dict(),
        "optimizer": live["adam"].state_dict(),
        "scheduler": live["scheduler"].state_dict(),
        "scaler": torch.amp.GradScaler("cpu").state_dict(),
        "rng": torch.get_rng_state(),
        "callbacks": {"ModelCheckpoint{'monitor': 'val.loss'}": {"best": torch.tensor(0.5), "path": "a.ckpt"}},
        "epoch": 3,
    }
    index = index_of(save(checkpoint))
    state = live["adam"].state_dict()["state"]
    expected = {f"model.{name}": tensor for name, tensor in live["net"].state_dict().items()}
    expected |= {
        f"optimizer.state.{key}.{name}": tensor for key, held in state.items() for name, tensor in held.items()
    }
    expected |= {
        "rng": torch.get_rng_state(),
        "callbacks.ModelCheckpoint{'monitor': 'val.loss'}.best": torch.tensor(0.5),
    }
    assert_same_tensors(index, expected)
    assert index.modules[""].attributes["epoch"] == 3
    assert index.modules["optimizer"].attributes["param_groups"][0]["params"] == [0, 1]
    assert index.modules[""].attributes["scheduler"]["step_size"] == 3
    assert index.modules["model"].version == 1


@both
def test_an_optimizer_itself(save: Save) -> None:
    live = optimizers()
    index = index_of(save(live["adam"]))
    assert index.modules[""].class_name == "torch.optim.adam.Adam"
    assert_same(index.tensors["param_groups.0.params.0"], live["net"].weight)
    assert_same(index.tensors["state.1.exp_avg"], live["adam"].state[live["net"].bias]["exp_avg"])


MODULES: dict[str, Callable[[], torch.nn.Module]] = {
    "linear": lambda: torch.nn.Linear(2, 3),
    "batch norm": lambda: torch.nn.BatchNorm2d(3),
    "lstm": lambda: torch.nn.LSTM(2, 3, 2),
    "no weights": lambda: torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Identity()),
    "transformer": lambda: torch.nn.TransformerEncoderLayer(4, 2, 8),
    "weight norm": lambda: parametrizations.weight_norm(torch.nn.Linear(2, 3)),
    "pruned": lambda: prune.l1_unstructured(torch.nn.Linear(2, 3), "weight", 0.5),
    "traced": lambda: torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())),
    "float16": lambda: torch.nn.Linear(2, 3).half(),
}


@both
@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
@pytest.mark.parametrize("name", sorted(set(MODULES) - {"weight norm"}))
def test_whole_modules(name: str, save: Save) -> None:
    module = MODULES[name]()
    index = index_of(save(module))
    expected = dict(module.named_parameters()) | dict(module.named_buffers())
    assert set(index.tensors) == set(expected)
    for key, tensor in expected.items():
        assert_same(index.tensors[key], tensor)
    assert list(index.modules) == [path for path, _ in module.named_modules()]
    if name != "traced":
        kinds = [type(each).__name__ for each in module.modules()]
        assert [info.kind for info in index.modules.values()] == kinds


@pytest.mark.slow
@both
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_a_compiled_module_is_what_it_wraps(save: Save) -> None:
    layer = torch.nn.Linear(2, 3)
    index = index_of(save(torch.compile(torch.nn.Sequential(layer))))
    assert {path: info.kind for path, info in index.modules.items()} == {
        "": "OptimizedModule",
        "_orig_mod": "Sequential",
        "_orig_mod.0": "Linear",
    }
    assert_same(index.tensors["_orig_mod.0.weight"], layer.weight)


@both
def test_a_state_dict_of_parametrised_modules(save: Save) -> None:
    state = MODULES["weight norm"]().state_dict()
    assert_same_tensors(index_of(save(state)), state)


@pytest.mark.slow
def test_a_module_whose_class_nobody_has(tmp_path: Path) -> None:
    """Saved by another program from its `__main__`; here there is no such class."""
    code = """
import collections, dataclasses, enum, sys, torch
class Mode(enum.Enum):
    FAST = "fast"
@dataclasses.dataclass
class Config:
    width: int
    mode: Mode
Pair = collections.namedtuple("Pair", "left right")
class Block(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.scale = config, torch.nn.Parameter(torch.full((2,), 3.0))
        self.register_buffer("seen", torch.tensor(5), persistent=False)
        self.pair = Pair(1, torch.ones(2))
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block(Config(7, Mode.FAST))
        self.again = self.block
        self.block.__dict__["parent"] = self
for path, options in ((sys.argv[1], {}), (sys.argv[2], {"_use_new_zipfile_serialization": False})):
    torch.save(Net().eval(), path, **options)
"""
    paths = tmp_path / "zip.pt", tmp_path / "stream.pt"
    subprocess.run([sys.executable, "-c", code, *map(str, paths)], check=True, timeout=60)
    for path in paths:
        with pytest.raises(AttributeError):
            torch.load(path, weights_only=False)
        _assert_net(index_of(path.read_bytes()))


def _assert_net(index: Index) -> None:
    block = index.modules["block"]
    assert list(index.modules) == ["", "block", "again"]
    assert index.modules["again"] is block
    assert (index.modules[""].class_name, block.class_name) == ("__main__.Net", "__main__.Block")
    assert not index.modules[""].training
    assert (block.parameters, block.buffers, block.non_persistent) == (("scale",), ("seen",), {"seen"})
    assert_same(index.tensors["block.scale"], torch.nn.Parameter(torch.full((2,), 3.0)))
    assert_same(index.tensors["block.seen"], torch.tensor(5))
    config: Any = block.attributes["config"]
    assert config.width == 7
    assert repr(config.mode) == "__main__.Mode('fast')"
    pair: Any = block.attributes["pair"]
    assert type(pair) is Opaque
    assert_same(list(pair.args or ())[1], torch.ones(2))
    assert "Net" in repr(block.attributes["parent"])


@both
def test_extra_state_belongs_to_its_module(save: Save) -> None:
    class Extra(torch.nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"calls": 3}

    net = torch.nn.Sequential(OrderedDict(inner=Extra(2, 2)))
    index = index_of(save(net.state_dict()))
    assert list(index.tensors) == ["inner.weight", "inner.bias"]
    assert index.modules["inner"].attributes["_extra_state"] == {"calls": 3}


@both
def test_modules_without_tensors_are_told_by_a_state_dict(save: Save) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.BatchNorm1d(2))
    index = index_of(save(net.state_dict()))
    assert set(index.modules) == {"", "0", "1", "2"}
    assert [index.modules[name].version for name in ("", "0", "1", "2")] == [1, 1, 1, 2]


@both
def test_a_state_dict_whose_names_were_changed_tells_of_no_modules(save: Save) -> None:
    state = torch.nn.Sequential(torch.nn.Linear(2, 2)).state_dict()
    renamed = OrderedDict((f"module.{name}", tensor) for name, tensor in state.items())
    renamed._metadata = state._metadata  # type: ignore[attr-defined]
    assert list(index_of(save(renamed)).modules) == [""]


def test_what_is_saved_into_the_middle_of_a_file_is_read_from_there(tmp_path: Path) -> None:
    """`torch.save` to an open file that has something in it already: torch reads it from that position only."""
    path = tmp_path / "net.pt"
    with path.open("wb") as file:
        file.write(b"x" * 1000)
        torch.save({"w": torch.arange(3)}, file)
    data = path.read_bytes()
    assert loaded(data[1000:])["w"].tolist() == [0, 1, 2]
    assert_same(index_of(data[1000:]).tensors["w"], torch.arange(3))
    assert_same(index_of(data, "torch").tensors["w"], torch.arange(3))


def test_two_files_in_a_row_are_the_first_in_the_older_format() -> None:
    data = saved_in_stream({"a": torch.ones(1)}) + saved_in_stream({"b": torch.ones(2)})
    buffer = io.BytesIO(data)
    assert list(torch.load(buffer, weights_only=False)) == ["a"]
    assert list(index_of(data).tensors) == ["a"]
