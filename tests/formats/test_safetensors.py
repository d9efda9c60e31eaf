"""safetensors: a file by hand, then files by the reference library."""

import json
import struct
from typing import Any

import pytest
import safetensors.torch
import torch

from statedict.dtypes import SAFETENSORS_DTYPES
from statedict.errors import FormatError, LimitError
from statedict.limits import Limits
from tests.formats.contract import FormatContract
from tests.formats.stored import assert_same, elements, index_of

BY_HAND = (
    b"\x8a\x00\x00\x00\x00\x00\x00\x00"  # the length of the header
    b'{"__metadata__":{"by":"hand"},'
    b'"b":{"dtype":"I8","shape":[],"data_offsets":[4,5]},'
    b'"a.w":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]}}'
    b"\x00\x3c\x00\xc0"  # 1.0 and -2.0
    b"\x07"
)


def with_header(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


ENTRY = b'{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


class TestContract(FormatContract):
    format = "safetensors"
    shuffles = True

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        return safetensors.torch.save(tensors)

    def boundaries(self, data: bytes) -> list[int]:
        header = 8 + int.from_bytes(data[:8], "little")
        return [8, header, header + 200_000]


def test_a_file_by_hand() -> None:
    index = index_of(BY_HAND)
    assert index.metadata == {"by": "hand"}
    assert not index.ordered
    assert list(index.tensors) == ["a.w", "b"], "in the order of their bytes"
    weight, bias = index.tensors.values()
    assert (str(weight.dtype), weight.shape, elements(weight)) == ("float16", (2, 1), b"\x00\x3c\x00\xc0")
    assert (str(bias.dtype), bias.shape, elements(bias)) == ("int8", (), b"\x07")


@pytest.mark.parametrize("dtype", sorted(safetensors.torch._TYPES.values(), key=str), ids=str)
def test_every_type_that_torch_and_the_reference_share(dtype: torch.dtype) -> None:
    raw = torch.arange(16, dtype=torch.uint8)
    tensor = raw.bool() if dtype is torch.bool else raw.view(dtype)
    assert_same(index_of(safetensors.torch.save({"w": tensor})).tensors["w"], tensor)


@pytest.mark.parametrize(("name", "bits"), [("F4", 4), ("F6_E2M3", 6), ("F6_E3M2", 6)])
def test_the_types_of_less_than_a_byte_are_packed(name: str, bits: int) -> None:
    shape, size = [2, 4], bits
    info = index_of(with_header({"w": entry(dtype=name, shape=shape, data_offsets=[0, size])}, bytes(size))).tensors[
        "w"
    ]
    assert info.dtype is SAFETENSORS_DTYPES[name]
    assert info.nbytes == size


REFUSED = {
    "a tensor that ends before it begins": {"w": entry(data_offsets=[8, 0])},
    "a negative offset": {"w": entry(data_offsets=[-8, 0])},
    "offsets that are fractions": {"w": entry(data_offsets=[0.0, 8.0])},
    "offsets that are truth values": {"w": entry(data_offsets=[False, True])},
    "one offset": {"w": entry(data_offsets=[8])},
    "a tensor longer than its shape": {"w": entry(shape=[1])},
    "a tensor shorter than its shape": {"w": entry(shape=[3])},
    "a tensor beyond the file": {"w": entry(data_offsets=[8, 16])},
    "a negative size": {"w": entry(shape=[-2])},
    "two negative sizes": {"w": entry(shape=[-2, -1])},
    "sizes that overflow": {"w": entry(shape=[1 << 62, 1 << 62, 0x10])},
    "a size beyond 64 bits": {"w": entry(shape=[1 << 64, 0], data_offsets=[0, 0])},
    "an offset of 4,000 digits": {"w": entry(data_offsets=[0, 10**4000])},
    "sixty-five dimensions": {"w": entry(shape=[2] + [1] * 64)},
    "a shape that is a text": {"w": entry(shape="22")},
    "an unknown type": {"w": entry(dtype="F5\nnew")},
    "a type that is a list": {"w": entry(dtype=["F32"])},
    "no type": {"w": {"shape": [2], "data_offsets": [0, 8]}},
    "an entry that is a list": {"w": [1, 2]},
    "an entry that is a text": {"w": "F32\n"},
    "a list of tensors": [entry()],
    "metadata that is no dict": {"__metadata__": 3},
    "metadata that is no text": {"__metadata__": {"a": {"b": 1}}},
    "no JSON": b"{'w': 1}",
    "JSON cut short": b'{"w": {"dtype"',
    "bytes that are no UTF-8": b'{"\xff": 1}',
    "brackets without end": b'{"a":' + b"[" * 200_000,
    "a name twice": b'{"w":%b,"w":%b}' % (ENTRY, ENTRY),
    "a name twice, once escaped": b'{"w":%b,"\\u0077":%b}' % (ENTRY, ENTRY),
    "a field twice": b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"data_offsets":[0,8]}}',
    "a number of 10,000 digits": b'{"w":{"dtype":"F32","shape":[' + b"1" * 10_000 + b'],"data_offsets":[0,8]}}',
}


@pytest.mark.parametrize("header", REFUSED.values(), ids=REFUSED.keys())
def test_a_header_that_contradicts_itself_is_refused(header: Any) -> None:
    with pytest.raises(FormatError, match=r"^net\.pt: ") as caught:
        index_of(with_header(header, bytes(8)), "safetensors")
    assert type(caught.value) is FormatError
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


def test_overlapping_tensors_are_two_tensors() -> None:
    index = index_of(with_header({"a": entry(), "b": entry()}, bytes(8)))
    assert [info.extent and info.extent.offset for info in index.tensors.values()] == [index.source.size - 8] * 2


def test_a_header_larger_than_the_limit_is_refused_before_it_is_read() -> None:
    data = with_header({"w": entry()}, bytes(8))
    with pytest.raises(LimitError, match="header_bytes"):
        index_of(data, limits=Limits(header_bytes=20))


def test_a_header_longer_than_the_file_is_no_header() -> None:
    with pytest.raises(FormatError, match="truncated"):
        index_of(struct.pack("<Q", 1 << 40) + b"{}", "safetensors")


def test_more_names_than_the_limit() -> None:
    header = {f"w{number}": entry() for number in range(11)}
    with pytest.raises(LimitError, match="names"):
        index_of(with_header(header, bytes(8)), limits=Limits(names=10))
