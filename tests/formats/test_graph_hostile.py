"""Object graphs made to deceive: parts of themselves, keys that are bombs, registers that are none."""

import struct

import pytest

from statedict.errors import LimitError
from statedict.index import Index
from statedict.limits import Limits
from tests.formats.hostile import call, name, text
from tests.formats.stored import index_of
from tests.formats.test_torch_stream import KEY, storage, stream, tensor


def opened(pickled: bytes) -> Index:
    """The index of a legacy file with one storage of one float, which `stored` refers to."""
    return index_of(stream(b"\x80\x02" + pickled + b".", ["k"], (1, struct.pack("<f", 7))))


STORED = tensor(storage(KEY, b"Float", 1), 0, 1)


WRAPPER = (
    name("torch._utils._rebuild_wrapper_subclass")
    + b"("
    + name("a.B")
    + name("torch.float32")
    + b"K\x01\x85K\x01\x85K\x00"
    + text("strided")
    + text("cpu")
    + b"\x89tR"
)


def test_a_tensor_may_be_its_own_attribute() -> None:
    index = opened(b"}" + text("w") + STORED + b"q\x00}" + text("me") + b"h\x00sbs")
    info = index.tensors["w"]
    assert info.encoding.attributes["me"] is info
    assert "me" in repr(info.encoding)


def test_a_tensor_cannot_be_a_part_of_itself() -> None:
    part_of_itself = b"q\x00}" + text("me") + b"h\x00sb"
    with pytest.raises(LimitError, match="a part of itself"):
        opened(b"](" + WRAPPER + part_of_itself + STORED + b"e")
    part_of_its_part = b"q\x00}" + text("a") + WRAPPER + b"}" + text("b") + b"h\x00sbsb"
    with pytest.raises(LimitError, match="a part of itself"):
        opened(b"](" + WRAPPER + part_of_its_part + STORED + b"e")


def test_parts_of_parts_do_not_multiply() -> None:
    inner = WRAPPER + b"}" + text("a") + STORED + b"sbq\x01"
    for level in range(2, 60):
        key = bytes([level - 1])
        inner += b"0" + WRAPPER + b"}(" + text("a") + b"h" + key + text("b") + b"h" + key + b"ubq" + bytes([level])
    with pytest.raises(LimitError, match="parts"):
        opened(b"](" + inner + b"e")


def test_attributes_of_attributes_end_somewhere() -> None:
    inner = STORED
    for _ in range(300):
        inner = STORED + b"}" + text("a") + inner + b"sb"
    with pytest.raises(LimitError, match="too many others"):
        opened(b"](" + inner + b"e")


@pytest.mark.parametrize(("depth", "fits"), [(150, True), (250, False), (20_000, False)])
def test_tensors_too_deep_meet_the_limit(depth: int, fits: bool) -> None:
    pickled = b"]" * depth + STORED + b"a" * depth
    if fits:
        assert list(opened(pickled).tensors) == [".".join(["0"] * depth)]
    else:
        with pytest.raises(LimitError, match=r"`Limits\.depth`"):
            opened(pickled)


@pytest.mark.parametrize("open_list", [b"]", b"("], ids=["lists", "tuples"])
def test_a_limit_beyond_what_python_can_follow(open_list: bytes) -> None:
    close = b"a" if open_list == b"]" else b"t"
    data = stream(b"\x80\x02" + open_list * 5000 + STORED + close * 5000 + b".", ["k"], (1, struct.pack("<f", 7)))
    with pytest.raises(LimitError, match="nested deeper than Python can follow"):
        index_of(data, limits=Limits(depth=10_000))


@pytest.mark.slow
def test_many_keys_of_one_text_take_no_time() -> None:
    entries = (call(name("a.B"), b"") + STORED for _ in range(3))
    index = opened(b"}(" + b"".join(entries) + b"u")
    assert list(index.tensors) == ["a.B()", "a.B()#2", "a.B()#3"]
    many = b"".join(name("a.B") + b")R" + b"N" for _ in range(50_000))
    index = opened(b"}(" + many + text("w") + STORED + b"u")
    assert len(index.modules[""].attributes) == 50_000


def test_a_key_that_is_a_bomb_has_a_short_name() -> None:
    bomb = call(name("a.B"), b")" + b"2\x86" * 60)
    (name_,) = opened(b"}" + bomb + STORED + b"s").tensors
    assert name_.startswith("a.B(")
    assert len(name_) < 1000


def test_module_registers_that_are_no_registers() -> None:
    """What calls itself a module and keeps nonsense where a module keeps its parameters is an object like others."""
    state = (
        b"}("
        + text("_parameters")
        + b"]"
        + text("_buffers")
        + b"}"
        + text("_modules")
        + b"}"
        + text("w")
        + STORED
        + b"u"
    )
    index = opened(call(name("a.Net")) + state + b"b")
    assert index.modules[""].kind == "Net"
    assert list(index.tensors) == ["w"]
    assert index.modules[""].attributes["_parameters"] == []
