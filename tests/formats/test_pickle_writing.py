"""Pickles that are written: Python's own unpickler, PyTorch's restricted one and our reader find the same values."""

import enum
import io
import math
import pickle
import pickletools
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import _weights_only_unpickler

from statedict.formats._pickle_writing import Call, Global, Made, PickleWriter, Reference
from statedict.opaque import Opaque
from tests.formats.stored import index_of

KEYS = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.tuples(st.integers(), st.text())
ATOMS = (
    KEYS
    | st.integers(-(1 << 2000), 1 << 2000)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters())
    | st.binary().map(bytearray)
    | st.sets(KEYS)
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.dictionaries(KEYS, inner).map(OrderedDict)
    ),
    max_leaves=20,
)


class Mode(enum.IntEnum):
    FAST = 300


class OwnDict(dict[str, Any]):
    pass


class Point:
    def __init__(self) -> None:
        raise AssertionError("made without being called")


def written(value: Any) -> bytes:
    writer = PickleWriter()
    writer.save(value)
    return writer.finished()


def unpickled(data: bytes) -> Any:
    pickletools.dis(data, io.StringIO())
    return pickle.loads(data)


def torch_unpickled(data: bytes) -> Any:
    return _weights_only_unpickler.load(io.BytesIO(data))


def test_a_pickle_by_hand() -> None:
    assert written({"a": [1, (2.5, None), "a"]}) == (
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01G\x40\x04\x00\x00\x00\x00\x00\x00N\x86h\x01eu."
    )


@given(VALUES)
def test_values_survive(value: Any) -> None:
    data = written(value)
    for found in (unpickled(data), torch_unpickled(data)):
        assert found == value
        assert repr(types_in(found)) == repr(types_in(value)), "True is not 1, nor a tuple a list"
    assert written(value) == data


def types_in(value: Any) -> Any:
    if isinstance(value, dict):
        return type(value), [(types_in(key), types_in(held)) for key, held in value.items()]
    return type(value), list(map(types_in, value)) if isinstance(value, list | tuple) else None


@pytest.mark.parametrize(
    "value", [0, 255, 256, 65535, 65536, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**2039 - 1, -(2**2039) + 1]
)
def test_whole_numbers_at_the_edges(value: int) -> None:
    assert unpickled(written(value)) == torch_unpickled(written(value)) == value


def test_fractions_without_equal() -> None:
    assert math.isnan(unpickled(written(math.nan)))
    assert math.copysign(1, unpickled(written(-0.0))) == -1


def test_half_of_a_surrogate_pair_survives() -> None:
    assert unpickled(written("a\udc80")) == torch_unpickled(written("a\udc80")) == "a\udc80"


def test_what_is_shared_stays_shared_and_may_hold_itself() -> None:
    inner: dict[str, Any] = {"lr": 0.1}
    row: list[Any] = [inner, inner]
    row.append(row)
    found = unpickled(written(row))
    assert found[0] is found[1]
    assert found[2] is found


def test_equal_lists_stay_apart() -> None:
    first, second = unpickled(written([[1], [1]]))
    assert first is not second


def test_more_texts_than_one_byte_counts() -> None:
    texts = [str(number) for number in range(1000)] * 2
    data = written(texts)
    assert unpickled(data) == torch_unpickled(data) == texts
    assert data.count(b"X\x03\x00\x00\x00") == 900, "each once"


def test_the_attributes_of_an_ordered_dict_are_kept() -> None:
    value: OrderedDict[str, int] = OrderedDict(a=1)
    value._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    for found in (unpickled(written(value)), torch_unpickled(written(value))):
        assert type(found) is OrderedDict
        assert vars(found) == {"_metadata": {"": {"version": 2}}}


def test_own_classes_are_written_as_what_they_inherit() -> None:
    assert unpickled(written([Mode.FAST, OwnDict(a=1)])) == [300, {"a": 1}]
    assert [*map(type, unpickled(written([Mode.FAST, OwnDict(a=1)])))] == [int, dict]


def test_what_cannot_be_written_is_left_out_of_dicts_and_none_elsewhere() -> None:
    writer = PickleWriter()
    opaque = Opaque("argparse.Namespace", ())
    writer.save({"a": opaque, "b": {"c": [1, opaque], "d": {1 << 5000: 1, 0: 1 << 5000}}, opaque: 1, "e": frozenset()})
    assert unpickled(writer.finished()) == {"b": {"c": [1, None], "d": {}}}
    assert dict(writer.left_out)["b.c.1"] == "argparse.Namespace"
    assert dict(writer.left_out)["b.d.0"] == "int"
    assert dict(writer.left_out)["e"] == "frozenset"
    assert len(writer.left_out) == 6


def test_calls_objects_and_references() -> None:
    value = [
        Call(Global("collections", "OrderedDict"), ([("a", 1)],)),
        Made(Global(__name__, "Point"), {"x": 1}),
        Reference(("storage", "0", 3)),
    ]

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            return pid

    called, made, reference = Unpickler(io.BytesIO(written(value))).load()
    assert called == {"a": 1}
    assert type(made) is Point
    assert vars(made) == {"x": 1}
    assert reference == ("storage", "0", 3)


def test_our_reader_reads_them() -> None:
    values = [1, "é", b"\xff", 1j, {"a": (1, [])}, {1, 2}, bytearray(b"x")]
    assert list(index_of(written(values), "pickle").modules[""].attributes.values()) == values
