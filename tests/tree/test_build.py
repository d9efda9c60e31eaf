"""From hand-made indexes to trees: names, order, roles, sharing, containers, attributes."""

import copy
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statedict.dtypes import dtype
from statedict.index import Index, ModuleInfo, TensorInfo
from statedict.opaque import Opaque
from statedict.source import BytesSource, Extent
from statedict.tree.build import build
from statedict.tree.containers import ModuleDict, Sequential
from statedict.tree.module import Module
from statedict.tree.nested import ListModule
from statedict.tree.tensor import Buffer, Parameter, Tensor

SOURCE = BytesSource(np.arange(8, dtype="f4").tobytes())


def info(name: str, kind: str = "float32") -> TensorInfo:
    return TensorInfo(name, dtype(kind), (2,), Extent(SOURCE, 0, 2 * dtype(kind).itemsize))


def tree(*names: str, modules: dict[str, ModuleInfo] | None = None, **tensors: TensorInfo) -> Any:
    given = {
        **{name: info(name) for name in names},
        **{name.replace("__", "."): value for name, value in tensors.items()},
    }
    return build(Index("hand", SOURCE, given, modules or {}, ordered=modules is not None).validate())


NAMES = st.lists(st.text("ab.0", max_size=6), max_size=12, unique=True)


@given(NAMES)
def test_any_names_survive(names: list[str]) -> None:
    model = tree(*names)
    assert sorted(model.state_dict()) == sorted(names)
    assert sorted(name for name, _ in model.named_parameters()) == sorted(names)
    for name in names:
        assert model.get_parameter(name).name == name


@given(NAMES)
def test_a_state_dict_builds_the_same_tree(names: list[str]) -> None:
    state = tree(*names).state_dict()
    again = build(Index("hand", SOURCE, {name: tensor.info for name, tensor in state.items()}))
    assert list(again.state_dict()) == list(state)


def test_order_is_that_of_first_appearance() -> None:
    model = tree("b.x.w", "a.w", "b.w", "c")
    assert [name for name, _ in model.named_modules()] == ["", "b", "b.x", "a"]
    modules = {"": ModuleInfo(), "z": ModuleInfo(), "a": ModuleInfo()}
    assert [name for name, _ in tree("b.w", "a.w", modules=modules).named_children()] == ["z", "a", "b"]


def test_a_name_may_be_a_tensor_and_a_module() -> None:
    model = tree("a", "a.b")
    assert list(model.state_dict()) == ["a", "a.b"]
    assert isinstance(model.a, Parameter)
    assert isinstance(model.get_submodule("a"), Module)


def test_one_info_is_one_tensor_and_one_module() -> None:
    tied, block = info("a.w"), ModuleInfo(kind="Block")
    model = tree(a__w=tied, b__w=tied, modules={"": ModuleInfo(), "a": block, "c": block})
    assert model.a.w is model.b.w
    assert model.a is model.c
    assert [name for name, _ in model.named_parameters()] == ["a.w"]
    assert list(model.state_dict()) == ["a.w", "c.w", "b.w"]


def test_a_module_inside_itself_ends_every_walk() -> None:
    loop = ModuleInfo(kind="Loop")
    model = tree("w", modules={"": loop, "again": loop, "leaf": ModuleInfo()})
    model.again = model  # what the second name of the root maps to is for the reader to say
    assert [name for name, _ in model.named_modules(remove_duplicate=False)] == ["", "leaf"]
    assert list(model.state_dict()) == ["w"]
    assert "Loop" in repr(model)
    assert model.train(False).again.training is False
    seen: list[Module] = []
    model.apply(seen.append)
    assert seen == [model.leaf, model]
    assert copy.deepcopy(model).again.again.w is not model.w
    assert repr(model.load_state_dict(model.state_dict())) == "<All keys matched successfully>"


def test_roles_that_the_file_tells() -> None:
    told = ModuleInfo(parameters=("w", "none"), buffers=("mean", "cache"), non_persistent=frozenset({"cache"}))
    model = tree("mean", "cache", "w", modules={"": told})
    assert [name for name, _ in model.named_parameters()] == ["w"]
    assert [name for name, _ in model.named_buffers()] == ["mean", "cache"]
    assert list(model.state_dict()) == ["w", "mean"]
    assert model.none is None
    assert not model.w.requires_grad
    assert [model.mean.persistent, model.cache.persistent] == [True, False]


def test_roles_that_it_does_not() -> None:
    names = ("bn.weight", "bn.running_mean", "bn.running_var")
    model = tree(*names, bn__num_batches_tracked=info("", "int64"), mask=info("", "bool"), half=info("", "float16"))
    assert [name for name, _ in model.named_parameters()] == ["half", "bn.weight"]
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(isinstance(buffer, Buffer) for buffer in model.buffers())
    assert len(list(model.buffers())) == 4


def test_nested_checkpoints_are_indexed_like_what_they_were() -> None:
    modules = {
        "": ModuleInfo(container="dict", attributes={"epoch": 3, "config": {"lr": [0.1]}}),
        "model": ModuleInfo(container="dict"),
        "optimizer": ModuleInfo(container="dict"),
        "optimizer.state": ModuleInfo(container="dict"),
        "history": ModuleInfo(container="list", attributes={"1": "x"}),
    }
    checkpoint = tree("model.fc.weight", "optimizer.state.0.exp", "history.0", modules=modules)
    assert checkpoint["epoch"] == checkpoint.epoch == 3
    assert checkpoint["model"] is checkpoint.model
    assert checkpoint["model.fc.weight"] is checkpoint.model.fc.weight
    assert checkpoint.optimizer.state["0"] is checkpoint.optimizer.state[0]
    assert [*checkpoint.history] == [checkpoint.history[0], "x"]
    assert (checkpoint.history[-1], len(checkpoint.history), checkpoint.history[:1][0].name) == ("x", 2, "history.0")
    assert list(checkpoint) == checkpoint.keys() == ["model", "optimizer", "history", "epoch", "config"]
    assert "epoch" in checkpoint
    assert "model.fc.weight" in checkpoint
    assert "nothing" not in checkpoint
    assert checkpoint.get("nothing", 1) == 1
    assert (checkpoint.kind, checkpoint.container, bool(tree(modules={"": modules["model"]}))) == (None, "dict", True)
    with pytest.raises(KeyError, match="modl; the closest names are `model`"):
        checkpoint["modl"]
    with pytest.raises(IndexError, match="index 2 is out of range"):
        checkpoint.history[2]


def test_modules_with_numbers_for_names_are_lists() -> None:
    model = tree("layers.0.w", "layers.10.w", "layers.2.w", "mixed.0.w", "mixed.a.w", "mixed.0.0", "rows.1", "rows.0")
    assert isinstance(model.layers, ListModule)
    assert [name for name, _ in model.layers.named_children()] == ["0", "2", "10"]
    assert model.layers[2] is model.get_submodule("layers.2")
    with pytest.raises(IndexError, match="module 1 holds nothing here; there are 0, 2, 10"):
        model.layers[1]
    assert model.layers[-1] is model.get_submodule("layers.10")
    assert model.rows[1] is model.get_parameter("rows.1")
    assert type(model.mixed) is Module
    assert bool(model.mixed)
    with pytest.raises(TypeError):
        len(model.mixed)  # type: ignore[arg-type]


def test_files_that_know_their_order_keep_it() -> None:
    model = tree("layers.1.w", "layers.0.w", modules={"": ModuleInfo(container="dict")})
    assert list(model.state_dict()) == ["layers.1.w", "layers.0.w"]
    assert model.layers[0] is model.get_submodule("layers.0")


def test_repeated_blocks_fold_when_printed() -> None:
    assert repr(tree("a.0.w", "a.1.w")) == "Module(\n  (a): Module(\n    (0-1): 2 x Module()\n  )\n)"
    assert repr(tree("a.0.w", "a.2.w")) == "Module(\n  (a): Module(\n    (0): Module()\n    (2): Module()\n  )\n)"


def test_pytorchs_containers_are_themselves() -> None:
    where = "torch.nn.modules.container."
    modules = {
        "": ModuleInfo("Sequential", where + "Sequential", training=False, version=7),
        "a": ModuleInfo("ModuleDict", where + "ModuleDict", modules=("x", "none")),
        "a.x": ModuleInfo("Conv2d", "torch.nn.modules.conv.Conv2d"),
    }
    model = tree(modules=modules)
    assert isinstance(model, Sequential)
    assert isinstance(model[0], ModuleDict)
    assert list(model.a) == ["x", "none"]
    assert model.a.none is None
    assert (model.training, model.version, model.a.version, model.a.x.kind) == (False, 7, 1, "Conv2d")


def test_attributes() -> None:
    tied, alone = info("w"), info("")
    nested: Any = {"a": [tied, (alone, 1)], "b": OrderedDict(c=alone)}
    nested["b"]["self"] = nested
    held = {"nested": nested, "size": 3, "opaque": Opaque("x.Y", (tied,)), "state_dict": "shadowed", "__len__": 2}
    model = tree(w=tied, modules={"": ModuleInfo(attributes=held)})
    assert model.size == 3
    assert model.nested["a"][0] is model.w
    assert model.nested["a"][1][0] is model.nested["b"]["c"]
    assert type(model.nested["b"]["c"]) is Tensor
    assert model.nested["b"]["self"] is model.nested
    assert model.opaque.args == (model.w,)
    assert callable(model.state_dict)
    assert model.attributes["state_dict"] == "shadowed"
    model.nested["a"].clear()
    model.size = 4
    assert (len(nested["a"]), held["size"]) == (2, 3)
    assert "size" in dir(model)
    with pytest.raises(AttributeError, match="'Module' object has no attribute 'seize'"):
        model.seize  # noqa: B018


def test_extra_state_comes_after_the_buffers() -> None:
    modules = {"": ModuleInfo(), "a": ModuleInfo(attributes={"_extra_state": info("x")}), "b": ModuleInfo()}
    model = tree("a.w", "b.w", modules=modules)
    state = model.state_dict()
    assert list(state) == ["a.w", "a._extra_state", "b.w"]
    assert isinstance(state["a._extra_state"], Tensor)
    assert model.load_state_dict({**state, "a._extra_state": 5}).missing_keys == []
    assert model.a.attributes["_extra_state"] == 5
    del state["a._extra_state"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"a._extra_state"'):
        model.load_state_dict(state)


def test_modules_told_of_late_keep_what_was_put_in_them() -> None:
    modules = {"a.b": ModuleInfo(kind="B"), "a": ModuleInfo(kind="A", attributes={"x": 1}), "": ModuleInfo(kind="Top")}
    model = tree("a.b.w", modules=modules)
    assert [(name, module.kind) for name, module in model.named_modules()] == [("", "Top"), ("a", "A"), ("a.b", "B")]
    assert model.a.x == 1


AGAIN = {"deepcopy": copy.deepcopy, "pickle": lambda model: pickle.loads(pickle.dumps(model))}


@pytest.mark.parametrize("how", AGAIN)
def test_copies_of_a_tree(how: str) -> None:
    tied = info("a.w")
    block = ModuleInfo(kind="Block", attributes={"tensor": tied})
    model = tree(a__w=tied, b__w=tied, modules={"": ModuleInfo(), "a": block, "c": block})
    made = AGAIN[how](model)
    assert made.a is made.c is not model.a
    assert made.a.w is made.b.w is made.a.tensor is not model.a.w
    assert repr(made) == repr(model)
    assert made.a.w.tolist() == [0.0, 1.0]
    made.a.w = np.ones(2, "f4")
    assert model.a.w.tolist() == [0.0, 1.0]


def test_a_deep_tree_is_walked_copied_and_printed() -> None:
    model = tree(".".join("a" * 60))
    assert len(list(copy.deepcopy(model).named_modules())) == 60
    assert repr(pickle.loads(pickle.dumps(model))) == repr(model)
