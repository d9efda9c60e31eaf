"""What the C code reads of headers is what Python reads: the whole of it, or nothing, and then Python is asked."""

import json
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statedict import accelerator
from statedict.formats import safetensors as safetensors_format
from statedict.source import BytesSource
from tests.formats.asked import asked, changed, changes
from tests.formats.graphs import account
from tests.formats.stored import index_of, saved
from tests.numbers import without_headers
from tests.seed_net import Net

pytestmark = pytest.mark.skipif(accelerator.headers() is None, reason="the C code was not built")


HEADERS = {
    "two tensors": {
        "b": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "a": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]},
    },
    "out of order": {
        "b": {"shape": [1], "data_offsets": [4, 8], "dtype": "F32"},
        "é": {"dtype": "I64", "shape": [0, 5], "data_offsets": [4, 4]},
        "a": {"dtype": "I64", "shape": [0], "data_offsets": [4, 4]},
        "z": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    },
    "metadata": {
        "__metadata__": {"format": "pt", "other": "a"},
        "a": {"dtype": "F8_E4M3", "shape": [1, 1, 1, 1, 1, 1], "data_offsets": [0, 1]},
    },
    "nothing": {},
}
ENTRY = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
ODD_HEADERS = {
    "an escape": b'{"a\\n":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "a name twice": b'{"a":%b,"a":%b}' % (ENTRY, ENTRY),
    "metadata twice": b'{"__metadata__":{},"__metadata__":{}}',
    "a key of metadata twice": b'{"__metadata__":{"a":"b","a":"c"}}',
    "metadata that are no text": b'{"__metadata__":{"a":1}}',
    "another field": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":{}}}',
    "a field twice": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"shape":[1]}}',
    "a field missing": b'{"a":{"dtype":"F32","shape":[1]}}',
    "no fields": b'{"a":{}}',
    "a negative size": b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
    "a size with a point": b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}',
    "a size with an exponent": b'{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}',
    "a size with a zero before": b'{"a":{"dtype":"F32","shape":[01],"data_offsets":[0,4]}}',
    "true as a size": b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}',
    "a long number": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,9999999999999999999]}}',
    "an end before the begin": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
    "three offsets": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}',
    "an unknown type": b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}',
    "many dimensions": b'{"a":{"dtype":"F32","shape":[' + b"1," * 70 + b'1],"data_offsets":[0,4]}}',
    "a comma too many": b'{"a":{"dtype":"F32","shape":[1,],"data_offsets":[0,4]}}',
    "a comma behind a tensor": b'{"a":%b,}' % ENTRY,
    "a comma behind metadata": b'{"__metadata__":{"a":"b",}}',
    "a comma behind a field": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],}}',
    "metadata cut off": b'{"__metadata__":{"a":"b"',
    "more behind": b"{} {}",
    "zeros behind": b"{}\0\0",
    "two bytes a character": '{"a":{}}'.encode("utf-16"),
    "no UTF-8": b'{"\xff":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "half a character": b'{"\xed\xa0\x80":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "a control character": b'{"a\n":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "a list": b"[]",
    "not the beginning of an object": b' {"a"',
}


def header_in_c(data: bytes) -> Any:
    found = safetensors_format._told(data, BytesSource(bytes(9), "x"))
    return None if found is None else account(list(found))


def header_in_python(data: bytes) -> Any:
    return asked(lambda: account(list(safetensors_format._parsed(data, BytesSource(bytes(9), "x")))))


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("separators", [None, (",", ":")])
def test_headers_are_read_in_c_as_python_reads_them(
    header: Any, indent: int | None, separators: tuple[str, str] | None
) -> None:
    data = json.dumps(header, ensure_ascii=False, indent=indent, separators=separators).encode() + b"  \n"
    found = header_in_c(data)
    assert found is not None
    assert found == header_in_python(data)


@pytest.mark.parametrize("data", ODD_HEADERS.values(), ids=ODD_HEADERS.keys())
def test_what_is_odd_in_a_header_is_left_to_python(data: bytes) -> None:
    assert header_in_c(data) is None


@given(which=st.sampled_from(list(HEADERS.values())), edits=changes, spaced=st.booleans())
@settings(max_examples=500)
def test_damaged_headers(which: Any, edits: list[tuple[float, bytes, int]], spaced: bool) -> None:
    data = changed(json.dumps(which, ensure_ascii=False, indent=1 if spaced else None).encode(), edits)
    found = header_in_c(data)
    assert found is None or found == header_in_python(data)


sizes = st.integers(0, 1 << 62)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8")),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "BF16", "BOOL"]),
                "shape": st.lists(sizes, max_size=6),
                "data_offsets": st.lists(sizes, min_size=2, max_size=2).map(sorted),
            }
        ),
        max_size=8,
    )
)
def test_any_header(header: Any) -> None:
    data = json.dumps(header, ensure_ascii=False).encode()
    found = header_in_c(data)
    assert found is None or found == header_in_python(data)


@given(st.dictionaries(st.text(), st.text(st.sampled_from('ab"é\\'))), changes, st.binary(max_size=3))
def test_objects_of_texts(texts: dict[str, str], edits: list[tuple[float, bytes, int]], before: bytes) -> None:
    data = json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")
    for each in (data, changed(data, edits)):
        whole = before + each + b"}"
        if found := accelerator.headers().flat_object(whole, len(before)):
            expected = json.loads(whole[len(before) : found[1]])
            assert found[0] == expected
            assert list(found[0]) == list(expected)
    assert accelerator.headers().flat_object(data, len(data) + 1) is None


def test_the_reference_librarys_headers_are_read_in_c() -> None:
    data = safetensors.torch.save({str(number): torch.ones(number % 3, 2) for number in range(300)}, {"a": "b"})
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    found = header_in_c(header)
    assert found is not None
    assert found == header_in_python(header)


@pytest.mark.parametrize(
    "data", [saved(Net()), saved(Net().state_dict()), safetensors.torch.save({"a": torch.ones(2)})]
)
def test_files_are_the_same_without_it(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    found = index_of(data)
    without_headers(monkeypatch)
    other = index_of(data)
    assert account(list(found.tensors.items())) == account(list(other.tensors.items()))
    assert list(found.modules) == list(other.modules)
    assert found.metadata == other.metadata


def test_what_is_no_header_is_an_error() -> None:
    library = accelerator.headers()
    for wrong in (lambda: library.zip_members("", 0, 0, 0), lambda: library.safetensors(b"", None, 0)):
        with pytest.raises(TypeError):
            wrong()
