"""PyTorch's format before 1.6: a file by hand, torch's own, and what only that format has."""

import pickle
import struct
from typing import Any

import pytest
import torch

from statedict.errors import FormatError, LimitError
from statedict.limits import Limits
from tests.formats.contract import SMALL, FormatContract
from tests.formats.stored import assert_same, assert_same_tensors, elements, index_of, loaded, saved_in_stream

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
BY_HAND = (
    MAGIC + b"\x80\x02M\xe9\x03."  # the protocol version, 1001
    b"\x80\x02}(X\x0d\x00\x00\x00little_endian\x88X\x10\x00\x00\x00protocol_versionM\xe9\x03"
    b"X\x0a\x00\x00\x00type_sizes}X\x03\x00\x00\x00intK\x04su."
    b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n"
    b"((X\x07\x00\x00\x00storagectorch\nShortStorage\nX\x03\x00\x00\x00keyX\x03\x00\x00\x00cpuK\x03NtQ"
    b"K\x01K\x02\x85K\x01\x85\x89}tRs."
    b"\x80\x02]X\x03\x00\x00\x00keya."
    b"\x03\x00\x00\x00\x00\x00\x00\x00"
    b"\x01\x00\x02\x00\x03\x00"
)


class TestContract(FormatContract):
    format = "torch legacy"

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        return saved_in_stream(tensors)

    def boundaries(self, data: bytes) -> list[int]:
        ends = [len(MAGIC), len(MAGIC) + 6, data.index(b".", data.index(b"type_sizes")) + 1]
        last = len(data) - 8 - 4 * 70_000
        return [*ends, last - 4 * 50_000, last, last + 8, len(data) - 2]


def test_a_file_by_hand() -> None:
    assert torch.equal(loaded(BY_HAND)["w"], torch.tensor([2, 3], dtype=torch.int16)), "torch agrees"
    index = index_of(BY_HAND)
    (weight,) = index.tensors.values()
    assert (weight.name, str(weight.dtype), weight.shape) == ("w", "int16", (2,))
    assert elements(weight) == b"\x02\x00\x03\x00"
    assert index.metadata == {"sys_info": {"little_endian": True, "protocol_version": 1001, "type_sizes": {"int": 4}}}


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_every_pickle_protocol_that_torch_can_load(protocol: int) -> None:
    data = saved_in_stream(SMALL | {"big": torch.zeros(300)}, pickle_protocol=protocol)
    assert list(loaded(data)) == ["w", "b", "big"], "torch agrees"
    assert_same_tensors(index_of(data), loaded(data))


def old_pickle(value: Any) -> bytes:
    return pickle.dumps(value, 2)


def stream(pickled: bytes, keys: Any, *storages: tuple[int, bytes], version: Any = 1001) -> bytes:
    heads = MAGIC + old_pickle(version) + old_pickle({"little_endian": True})
    return heads + pickled + old_pickle(keys) + b"".join(struct.pack("<q", numel) + data for numel, data in storages)


def storage(key: bytes, kind: bytes, numel: int, view: bytes = b"N") -> bytes:
    """A storage as a pickle refers to it: `key` and `view` are pickled already."""
    return (
        b"(X\x07\x00\x00\x00storagectorch\n"
        + kind
        + b"Storage\n"
        + key
        + b"X\x03\x00\x00\x00cpuK"
        + bytes([numel])
        + view
        + b"tQ"
    )


def tensor(stored: bytes, offset: int, size: int) -> bytes:
    return (
        b"ctorch._utils\n_rebuild_tensor\n(" + stored + bytes([ord("K"), offset, ord("K"), size]) + b"\x85K\x01\x85tR"
    )


KEY = b"X\x01\x00\x00\x00k"
VIEW = b"X\x01\x00\x00\x00v"


def test_views_of_storages_as_pytorch_0_3_wrote_them() -> None:
    view = b"(" + VIEW + b"K\x02K\x03t"
    pickled = b"\x80\x02](" + tensor(storage(KEY, b"Float", 6, view), 1, 2) + tensor(storage(KEY, b"Float", 6), 0, 6)
    data = stream(pickled + b"e.", ["k"], (6, struct.pack("<6f", *range(6))))
    expected = loaded(data)
    assert expected[0].tolist() == [3, 4], "torch agrees"
    assert_same_tensors(index_of(data), {"0": expected[0], "1": expected[1]})


def test_texts_that_python_2_pickled_as_bytes() -> None:
    view = b"N"
    stored = b"(U\x07storagectorch\nLongStorage\nU\x01kU\x03cpuK\x01" + view + b"tQ"
    data = stream(b"\x80\x02}U\x01w" + tensor(stored, 0, 1) + b"s.", ["k"], (1, struct.pack("<q", 7)))
    assert loaded(data)["w"].tolist() == [7], "torch agrees"
    assert_same_tensors(index_of(data), loaded(data))


def test_whole_models_are_saved_with_the_source_of_their_classes() -> None:
    """The pickle refers to a class by a persistent id that holds the class, its file and its source."""
    source = b"X\x04\x00\x00\x00a.py" + b"X\x05\x00\x00\x00class"
    kind = b"(X\x06\x00\x00\x00modulecgone\nNet\n" + source + b"tQ"
    state = b"}(X\x0b\x00\x00\x00_parameters}X\x01\x00\x00\x00w" + tensor(storage(KEY, b"Float", 1), 0, 1)
    state += b"sX\x08\x00\x00\x00_buffers}X\x08\x00\x00\x00_modules}u"
    index = index_of(stream(b"\x80\x02" + kind + b")\x81" + state + b"b.", ["k"], (1, struct.pack("<f", 7))))
    assert index.modules[""].class_name == "gone.Net"
    assert index.modules[""].parameters == ("w",)
    assert elements(index.tensors["w"]) == struct.pack("<f", 7)


def test_a_module_by_torch_itself() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    index = index_of(saved_in_stream(module))
    assert_same_tensors(index, dict(module.named_parameters()))
    assert [info.kind for info in index.modules.values()] == ["Sequential", "Linear", "ReLU"]


def test_numbers_as_keys_and_storages_of_half_a_byte() -> None:
    packed = torch.arange(5, dtype=torch.uint8).view(torch.quint4x2)
    plain = torch.arange(3)
    index = index_of(saved_in_stream({"packed": packed, "plain": plain}))
    assert index.tensors["packed"].extent is not None
    assert index.tensors["packed"].extent.read() == bytes([0, 1, 2]), "five elements in three bytes"
    assert_same(index.tensors["plain"], plain)


ONE = tensor(storage(KEY, b"Float", 1), 0, 1)
DAMAGED = {
    "another version": (stream(b"N.", [], version=1002), "protocol version 1002"),
    "a version that is a bomb": (MAGIC + b"\x80\x02)" + b"2\x86" * 60 + b".", "within a pickle"),
    "a storage too many": (
        stream(b"\x80\x02" + ONE + b".", ["k", "x"], (1, b"1234"), (1, b"1234")),
        "lists a storage `'x'`",
    ),
    "a storage too few": (stream(b"\x80\x02" + ONE + b".", []), "does not list storage `k`"),
    "keys that are no list": (stream(b"\x80\x02" + ONE + b".", 3), "does not list storage `k`"),
    "keys that are lists": (stream(b"\x80\x02" + ONE + b".", [[]], (1, b"1234")), r"lists a storage `\[\]`"),
    "a storage too short": (stream(b"\x80\x02" + ONE + b".", ["k"], (0, b"")), "has 0 bytes, but its pickle says 4"),
    "a storage too long": (stream(b"\x80\x02" + ONE + b".", ["k"], (1 << 40, b"1234")), "truncated"),
    "a negative length": (stream(b"\x80\x02" + ONE + b".", ["k"], (-1, b"1234")), "truncated"),
    "no length": (stream(b"\x80\x02" + ONE + b".", ["k"]), "truncated"),
}


@pytest.mark.parametrize(("data", "text"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_is_told_in_one_line(data: bytes, text: str) -> None:
    with pytest.raises(FormatError, match=rf"^net\.pt: .*{text}") as caught:
        index_of(data)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "pid",
    [
        b"N",
        b")",
        b"(X\x07\x00\x00\x00storaget",
        b"(X\x07\x00\x00\x00storageNNNNNt",
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n]X\x01\x00\x00\x00cK\x01Nt",
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + KEY + b"X\x01\x00\x00\x00cK\x01(]Ntt",
        b"(X\x05\x00\x00\x00otherNt",
        b"(X\x06\x00\x00\x00modulet",
    ],
    ids=range(8),
)
def test_a_reference_to_no_storage_is_an_opaque_one_or_damage(pid: bytes) -> None:
    data = stream(b"\x80\x02" + pid + b"Q.", [])
    try:
        assert index_of(data).modules[""].class_name == "persistent_load"
    except FormatError as error:
        assert "its pickle is damaged" in str(error)  # noqa: PT017 - either will do


def test_a_number_of_elements_beyond_counting_is_damage() -> None:
    numel = b"\x8b" + struct.pack("<i", 100_000) + b"\x01" * 100_000
    stored = storage(KEY, b"Float", 1).replace(b"K\x01NtQ", numel + b"NtQ")
    with pytest.raises(FormatError, match="its pickle is damaged"):
        index_of(stream(b"\x80\x02" + stored + b".", ["k"], (1, b"1234")))


def test_a_description_longer_than_the_limit() -> None:
    with pytest.raises(LimitError, match="header_bytes"):
        index_of(saved_in_stream({"a" * 100_000: torch.ones(1)}), limits=Limits(header_bytes=70_000))


def test_storages_may_come_in_any_order() -> None:
    other = b"X\x01\x00\x00\x00o"
    pickled = (
        b"\x80\x02](" + tensor(storage(KEY, b"Float", 1), 0, 1) + tensor(storage(other, b"Short", 1), 0, 1) + b"e."
    )
    data = stream(pickled, ["o", "k"], (1, struct.pack("<h", 5)), (1, struct.pack("<f", 7)))
    assert_same_tensors(index_of(data), {str(number): each for number, each in enumerate(loaded(data))})
