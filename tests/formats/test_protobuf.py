"""The walk over protobuf's wire format: bytes by hand, then messages by the reference library."""

import contextlib

import pytest
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto

from statedict.errors import FormatError, LimitError, StatedictError
from statedict.formats._protobuf import BYTES, FIXED32, FIXED64, VARINT, Field, Message, message
from statedict.limits import DEFAULT_LIMITS, Limits
from statedict.source import BytesSource
from tests.formats.stored import NAME, CountingSource


def over(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Message:
    return message(BytesSource(data, NAME), limits)


def test_a_message_by_hand() -> None:
    fields = list(over(b"\x08\x96\x01\x12\x02hi\x1d\x01\x02\x03\x04\x21\x01\x02\x03\x04\x05\x06\x07\x08"))
    assert fields == [
        Field(1, VARINT, 150, 1, 2),
        Field(2, BYTES, 0, 5, 2),
        Field(3, FIXED32, 0, 8, 4),
        Field(4, FIXED64, 0, 13, 8),
    ]


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_integers_are_those_of_the_reference(values: list[int]) -> None:
    packed = over(TensorProto(int64_data=values).SerializeToString())
    assert [value for field in packed for value in packed.integers(field, len(values))] == values
    apart = over(TensorProto(dims=values).SerializeToString())
    assert [value for field in apart for value in apart.integers(field, 1)] == values


@given(st.text(), st.integers(-(2**63), 2**63 - 1), st.floats(width=32, allow_nan=False), st.binary())
def test_fields_are_those_of_the_reference(name: str, number: int, real: float, data: bytes) -> None:
    proto = over(AttributeProto(name=name, i=number, f=real, s=data).SerializeToString())
    held = {field.number: field for field in proto}
    if name:
        assert proto.text(held[1]) == name
    assert proto.integer(held[3]) == number
    assert proto.data(held[4]) == data
    assert proto.extent(held[4]).read() == data


def test_messages_in_messages() -> None:
    struct = Struct(fields={"a": Value(struct_value=Struct(fields={"b": Value(string_value="deep")}))})
    proto, seen = over(struct.SerializeToString()), list[str]()
    for number in (1, 2, 5, 1, 2, 3):
        (field,) = [field for field in proto if field.number == number]
        seen += [proto.text(each) for each in proto if each.number == 1 and number == 2]
        if number == 3:
            seen.append(proto.text(field))
        else:
            proto = proto.inner(field)
    assert seen == ["a", "b", "deep"]


def test_payloads_are_not_read() -> None:
    payloads = b"".join(b"\x12\x80\x80\x40" + bytes(1 << 20) for _ in range(8))
    source = CountingSource(payloads)
    assert [field.size for field in message(source, DEFAULT_LIMITS)] == [1 << 20] * 8
    assert source.read_bytes < 300_000


def test_text_that_is_none_is_shown_as_escapes() -> None:
    proto = over(b"\x0a\x03a\xff\xc3")
    assert [proto.text(field) for field in proto] == ["a\\xff\\xc3"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x08", "middle of a number"),
        (b"\x80\x80", "middle of a number"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "more than ten bytes"),
        (b"\x12\x05hi", "ends at byte 7, but what it is in at byte 4"),
        (b"\x12" + b"\xff" * 9 + b"\x01", "ends at byte"),
        (b"\x1d\x01", "ends at byte 5"),
        (b"\x0b\x08\x01\x0c", "wire type 3"),
        (b"\x0f", "wire type 7"),
        (b"\x00\x01", "field 0"),
    ],
)
def test_damage_is_told(data: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=rf"^{NAME}: .*{reason}.*damaged"):
        list(over(data))


def test_what_is_another_kind_of_field_is_refused() -> None:
    number, text = over(b"\x08\x01"), over(b"\x0a\x01x")
    (first,), (second,) = number, text
    for ask in (number.text, number.data, number.extent, number.inner):
        with pytest.raises(FormatError, match="is a number, but should be bytes"):
            ask(first)
    with pytest.raises(FormatError, match="should be a number"):
        text.integer(second)
    many = over(b"\x0a\x2b" + b"\x01" * 43)
    with pytest.raises(FormatError, match="more than 4 numbers"):
        [many.integers(field, 4) for field in many]


def test_a_message_within_does_not_reach_beyond_itself() -> None:
    proto = over(b"\x0a\x02\x12\x05hello")
    inner = proto.inner(next(iter(proto)))
    with pytest.raises(FormatError, match="ends at byte 9, but what it is in at byte 4"):
        list(inner)


def test_messages_nested_without_end_meet_a_limit() -> None:
    bomb = b""
    for _ in range(150):
        size = len(bomb)
        bomb = b"\x0a" + bytes([size & 0x7F | 0x80, size >> 7]) + bomb
    proto = over(bomb)
    with pytest.raises(LimitError, match="messages in messages"):
        while True:
            proto = proto.inner(next(iter(proto)))


def test_long_texts_meet_a_limit() -> None:
    proto = over(b"\x0a\x0a" + b"x" * 10, Limits(header_bytes=9))
    with pytest.raises(LimitError, match="header_bytes"):
        [proto.text(field) for field in proto]


@given(st.binary())
def test_any_bytes_give_fields_or_our_errors(data: bytes) -> None:
    seen = 0
    with contextlib.suppress(StatedictError):
        for field in over(data):
            seen += field.size
            assert field.start + field.size <= len(data)
    assert seen <= len(data)
