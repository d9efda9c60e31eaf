"""Which of an object graph is a tensor, a module or an attribute, and what each is called."""

import argparse
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statedict.opaque import Opaque
from tests.formats.stored import assert_same, assert_same_tensors, index_of, saved, saved_in_stream

ONE = torch.ones(1)


class Mode(enum.Enum):
    FAST = "fast"


class Level(enum.IntEnum):
    HIGH = 9


@dataclasses.dataclass
class Config:
    width: int
    weight: torch.Tensor | None = None


class Pair(NamedTuple):
    """A tuple with names."""

    left: Any
    right: Any


class Slots:
    __slots__ = ("number", "weight")

    def __init__(self) -> None:
        self.number, self.weight = 1, ONE


class Stateful:
    """Saves something that is no dict."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def __getstate__(self) -> Any:
        return self.state

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("nobody may call this")


class Made:
    """Made with arguments, by keyword too."""

    def __new__(cls, *arguments: Any, **named: Any) -> "Made":
        return super().__new__(cls)

    def __getnewargs_ex__(self) -> Any:
        return (torch.zeros(2), "x"), {"weight": ONE}


class OwnDict(dict[str, Any]):
    pass


class OwnList(list[Any]):
    pass


class OwnText(str):
    __slots__ = ()


def attributes(value: Any, save: Callable[..., bytes] = saved) -> dict[str, Any]:
    return dict(index_of(save(value)).modules[""].attributes)


CONTAINERS: dict[str, tuple[Any, list[str], dict[str, str | None]]] = {
    "a dict": ({"a": {"b": ONE}}, ["a.b"], {"": None, "a": None}),
    "a list": ([ONE, (ONE,)], ["0", "1.0"], {"": None, "1": None}),
    "a tuple": ((1, ONE), ["1"], {"": None}),
    "an OrderedDict": (collections.OrderedDict(a=ONE), ["a"], {"": None}),
    "a defaultdict": (collections.defaultdict(list, a=[ONE]), ["a.0"], {"": None, "a": None}),
    "a namedtuple": ({"p": Pair(ONE, 2)}, ["p.0"], {"": None, "p": "Pair"}),
    "a dataclass": ({"c": Config(3, ONE)}, ["c.weight"], {"": None, "c": "Config"}),
    "slots": ({"s": Slots()}, ["s.weight"], {"": None, "s": "Slots"}),
    "a Namespace": (argparse.Namespace(lr=0.1, w=ONE), ["w"], {"": "Namespace"}),
    "a SimpleNamespace": ([types.SimpleNamespace(w=ONE)], ["0.w"], {"": None, "0": "SimpleNamespace"}),
    "a deque": ([collections.deque([ONE])], ["0.0"], {"": None, "0": "deque"}),
    "a ChainMap": (
        [collections.ChainMap({"a": ONE})],
        ["0.maps.0.a"],
        {"": None, "0": "ChainMap", "0.maps": None, "0.maps.0": None},
    ),
    "a dict of its own class": ({"d": OwnDict(a=ONE)}, ["d.a"], {"": None, "d": "OwnDict"}),
    "a list of its own class": ({"l": OwnList([ONE])}, ["l.0"], {"": None, "l": "OwnList"}),
    "a state that is a tuple": (
        {"s": Stateful((ONE, 1, 2))},
        ["s.state.0"],
        {"": None, "s": "Stateful", "s.state": None},
    ),
    "a state that is a tensor": ({"s": Stateful(ONE)}, ["s.state"], {"": None, "s": "Stateful"}),
    "arguments": ({"m": Made()}, ["m.weight", "m.0"], {"": None, "m": "Made"}),
    "a module without tensors": ({"m": torch.nn.ReLU()}, [], {"": None, "m": "ReLU"}),
    "numbers as keys": ({0: ONE, 1.5: ONE.clone(), None: torch.ones(2)}, ["0", "1.5", "None"], {"": None}),
    "a tuple as a key": ({(1, "a"): ONE}, ["(1, 'a')"], {"": None}),
    "an enum as a key": ({Mode.FAST: ONE}, [f"{__name__}.Mode('fast')"], {"": None}),
    "a class as a key": ({torch.float32: ONE, int: torch.ones(2)}, ["torch.float32", "builtins.int"], {"": None}),
    "0 and '0'": ({0: ONE, "0": torch.ones(2)}, ["0", "'0'"], {"": None}),
    "one name by two ways": ({"a.b": ONE, "a": {"b": torch.ones(2)}}, ["a.b", "a.b'"], {"": None, "a": None}),
    "modules of one name": (
        {"a.b": [ONE], "a": {"b": [torch.ones(2)]}},
        ["a.b.0", "a.b'.0"],
        {"": None, "a.b": None, "a": None, "a.b'": None},
    ),
    "a module without a name": ({"": {"w": ONE}, "w": torch.ones(2)}, ["'.w", "w"], {"": None, "'": None}),
    "nothing": ({}, [], {"": None}),
}


@pytest.mark.parametrize("save", [saved, saved_in_stream], ids=["zip", "stream"])
@pytest.mark.parametrize("case", CONTAINERS)
def test_names_and_kinds(case: str, save: Callable[..., bytes]) -> None:
    value, tensors, kinds = CONTAINERS[case]
    index = index_of(save(value))
    assert list(index.tensors) == tensors
    assert {path: info.kind for path, info in index.modules.items()} == kinds


VALUES: dict[str, tuple[Any, str]] = {
    "none": (None, "None"),
    "a text": ("é\n", r"'é\n'"),
    "a whole number": (10**50, "1" + "0" * 50),
    "a very long number": (1 << 70_000, "int('70,001 bits')"),
    "a fraction": (float("inf"), "inf"),
    "bytes": (b"\xff", r"b'\xff'"),
    "a bytearray": (bytearray(b"a"), "bytearray(b'a')"),
    "a complex": (1 + 2j, "(1+2j)"),
    "a set": ({1}, "{1}"),
    "a frozenset": (frozenset([1]), "frozenset({1})"),
    "an empty set": (set[int](), "set()"),
    "a tuple of one": ((1,), "(1,)"),
    "nested": ({"a": [1, (2, {"b": None})]}, "{'a': [1, (2, {'b': None})]}"),
    "a slice": (slice(1, 2), "builtins.slice(1, 2, None)"),
    "a range": (range(3), "builtins.range(0, 3, 1)"),
    "an enum": (Mode.FAST, f"{__name__}.Mode('fast')"),
    "an enum of numbers": (Level.HIGH, f"{__name__}.Level(9)"),
    "a dataclass": (Config(3), f"{__name__}.Config(width=3, weight=None)"),
    "a namedtuple": (Pair(1, 2), f"{__name__}.Pair(1, 2)"),
    "a text of its own class": (OwnText("a"), f"{__name__}.OwnText('a')"),
    "a date": (dt.date(2020, 1, 1), r"datetime.date(b'\x07\xe4\x01\x01')"),
    "a path": (pathlib.PurePosixPath("a/b"), "pathlib.PurePosixPath('a', 'b')"),
    "a decimal": (decimal.Decimal("1.5"), "decimal.Decimal('1.5')"),
    "a function": (torch.nn.functional.relu, "torch.nn.functional.relu"),
    "a builtin": (len, "builtins.len"),
    "an exception": (ValueError("x"), "builtins.ValueError('x')"),
    "an ellipsis": (..., "builtins.Ellipsis"),
    "a Counter": (collections.Counter("aab"), "{'a': 2, 'b': 1}"),
    "a Namespace": (argparse.Namespace(lr=0.1), "argparse.Namespace(lr=0.1)"),
    "a list of its own class": (OwnList([1]), f"{__name__}.OwnList([1])"),
    "a state that is no dict": (Stateful([1]), f"{__name__}.Stateful(state=[1])"),
    "a numpy type": (np.dtype("f4"), "numpy.dtype('f4')"),
}


@pytest.mark.parametrize("case", VALUES)
def test_other_values_are_attributes(case: str) -> None:
    value, printed = VALUES[case]
    assert repr(attributes({"value": value, "w": ONE})["value"]) == printed
    index = index_of(saved(value))
    if not isinstance(value, dict | list | tuple | Config | argparse.Namespace):
        assert not index.tensors


def test_attributes_of_opaque_values_can_be_reached() -> None:
    value = attributes({"args": argparse.Namespace(lr=0.1, inner=Config(3))})["args"]
    assert (value.lr, value.inner.width) == (0.1, 3)


def test_a_value_at_the_top_is_an_attribute_of_the_root() -> None:
    index = index_of(saved(3))
    assert dict(index.modules[""].attributes) == {"value": 3}


@pytest.mark.parametrize("value", [ONE, torch.nn.Parameter(ONE)], ids=["tensor", "parameter"])
def test_a_tensor_at_the_top_is_called_tensor(value: torch.Tensor) -> None:
    index = index_of(saved(value))
    assert_same_tensors(index, {"tensor": value})
    assert index.tensors["tensor"].name == "tensor"


def test_what_is_shared_is_one_object() -> None:
    inner, settings_ = {"w": ONE}, {"lr": 0.1}
    index = index_of(saved({"a": inner, "b": inner, "x": settings_, "y": settings_, "t": ONE}))
    assert index.modules["a"] is index.modules["b"]
    assert list(index.tensors) == ["a.w", "t"], "nothing below a second name is listed again"
    assert index.tensors["t"] is index.tensors["a.w"]
    assert index.modules[""].attributes["x"] is index.modules[""].attributes["y"]


def test_tied_weights_are_one_tensor_and_equal_ones_are_two() -> None:
    net = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2), "c": torch.nn.Linear(2, 2)})
    net["b"].weight = net["a"].weight
    for index in (index_of(saved(net)), index_of(saved(net.state_dict()))):
        assert index.tensors["a.weight"] is index.tensors["b.weight"]
        assert index.tensors["a.weight"] is not index.tensors["c.weight"]


def test_two_parameters_of_one_storage_are_two() -> None:
    data = torch.ones(3)
    index = index_of(saved([torch.nn.Parameter(data), torch.nn.Parameter(data)]))
    first, second = index.tensors.values()
    assert first is not second
    assert first.extent == second.extent


def test_containers_that_hold_themselves() -> None:
    numbers: list[Any] = [1]
    numbers.append(numbers)
    tensors: list[Any] = [ONE]
    tensors.append(tensors)
    by_name: dict[str, Any] = {"t": torch.ones(2), "numbers": numbers, "tensors": tensors}
    by_name["me"] = by_name
    index = index_of(saved(by_name))
    assert list(index.tensors) == ["t", "tensors.0"]
    assert index.modules["me"] is index.modules[""]
    assert index.modules["tensors.1"] is index.modules["tensors"]
    assert repr(index.modules[""].attributes["numbers"]) == "[1, [...]]"


def test_a_module_that_knows_its_parent() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2))
    net[0].__dict__["parent"] = net
    index = index_of(saved(net))
    assert list(index.modules) == ["", "0"]
    parent: Any = index.modules["0"].attributes["parent"]
    assert (parent.kind, parent._modules["0"].parent is parent) == ("Sequential", True)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=5)
dtypes = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    whole = torch.arange(int(np.prod(shape)) * 4 + 8).to(draw(dtypes))
    start = draw(st.integers(0, 3))
    stride = [draw(st.integers(0, 3)) for _ in shape]
    reach = sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if 0 not in shape and start + reach >= whole.numel():
        stride = [0] * len(shape)
    return whole.as_strided(shape, stride, start)


checkpoints = st.recursive(
    scalars | tensors(),
    lambda inner: (
        st.dictionaries(st.text(max_size=5) | st.integers(0, 3), inner, max_size=4)
        | st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=12,
)


def flattened(value: Any, path: str, found: list[torch.Tensor]) -> Any:
    """The slow reference: all tensors, depth first, each object once."""
    if isinstance(value, torch.Tensor):
        found.append(value)
    elif isinstance(value, dict | list | tuple):
        for held in value.values() if isinstance(value, dict) else value:
            flattened(held, path, found)
    return found


@pytest.mark.slow
@given(checkpoint=st.dictionaries(st.text(max_size=5), checkpoints, max_size=4), zipped=st.booleans())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_any_nested_checkpoint(checkpoint: dict[str, Any], zipped: bool) -> None:
    index = index_of((saved if zipped else saved_in_stream)(checkpoint))
    expected = flattened(checkpoint, "", [])
    assert len(index.tensors) == len(expected)
    for info, live in zip(index.tensors.values(), expected, strict=True):
        assert_same(info, live)
    for key, value in checkpoint.items():
        if not flattened(value, "", []):
            assert index.modules[""].attributes[key] == value


def test_opaque_is_what_a_class_without_a_name_becomes() -> None:
    value = attributes({"value": torch.nn.Linear})["value"]
    assert type(value) is Opaque
    assert value.args is None
