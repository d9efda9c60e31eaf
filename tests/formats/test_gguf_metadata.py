"""GGUF's metadata: values, and arrays that are decoded when they are looked at."""

import copy
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from statedict.errors import LimitError
from statedict.formats.gguf import GGUFArray
from statedict.tree.reading import read
from tests.formats.gguf_files import packed, written
from tests.formats.stored import CountingSource, index_of


def test_metadata_by_the_reference() -> None:
    def metadata(writer: GGUFWriter) -> None:
        for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"):
            getattr(writer, f"add_{kind}")(kind, 100)
        writer.add_float32("float32", 0.5)
        writer.add_float64("float64", 0.1)
        writer.add_bool("bool", True)
        writer.add_string("string", "ü")
        writer.add_array("floats", [0.5, 1.5])
        writer.add_array("bools", [True, False])
        writer.add_token_list([b"<s>", "ü".encode(), b"\xff"])

    attributes = index_of(written({}, metadata)).modules[""].attributes
    integers = {f"{sign}int{bits}": 100 for sign in ("u", "") for bits in (8, 16, 32, 64)}
    assert attributes == {
        "general.architecture": "llama", **integers, "float32": 0.5, "float64": 0.1, "bool": True, "string": "ü",
        "floats": [0.5, 1.5], "bools": [True, False], "tokenizer.ggml.tokens": ["<s>", "ü", "\\xff"],
    }  # fmt: skip
    assert attributes["bools"][0] is True


def test_arrays_in_arrays() -> None:
    inner = struct.pack("<IQ2B", 0, 2, 1, 2)
    array = struct.pack("<IQ", 9, 2) + inner + struct.pack("<IQ", 8, 0)
    index = index_of(packed(3, "<", [("a", 9, array), ("b", 0, b"\x07")], []))
    assert index.modules[""].attributes == {"a": [[1, 2], []], "b": 7}


class TestGGUFArray:
    @pytest.fixture
    def array(self) -> GGUFArray:
        tokens = [f"token {number}" for number in range(1000)]
        return (
            index_of(written({}, lambda writer: writer.add_token_list(tokens)))
            .modules[""]
            .attributes["tokenizer.ggml.tokens"]
        )

    def test_is_a_sequence(self, array: GGUFArray) -> None:
        assert (len(array), array[7], array[-1], array[2:4]) == (
            1000, "token 7", "token 999", ["token 2", "token 3"],
        )  # fmt: skip
        assert array.index("token 12") == 12
        assert "token 1000" not in array
        assert next(reversed(array)) == "token 999"
        with pytest.raises(IndexError):
            array[1000]

    def test_equals_what_has_the_same_items(self, array: GGUFArray) -> None:
        assert array == list(array) == array
        assert array == tuple(array)
        assert array != list(array)[1:]
        assert array != "token 0"

    def test_is_printed_without_its_items(self, array: GGUFArray) -> None:
        assert repr(array) == "GGUFArray(1,000 of string)"

    def test_can_be_copied(self, array: GGUFArray) -> None:
        assert pickle.loads(pickle.dumps(array)) == copy.deepcopy(array) == array


def test_a_vocabulary_is_passed_over_block_by_block() -> None:
    texts = ["", "x" * 70_000, "y" * 65_536, *(str(number) * (number % 9) for number in range(30_000)), "z" * 200_000]

    def metadata(writer: GGUFWriter) -> None:
        writer.add_array("texts", texts)
        writer.add_array("numbers", list(range(100_000)))
        writer.add_string("after", "all")

    source = CountingSource(written({"w": np.zeros(4, np.float32)}, metadata))
    index = index_of(source)
    assert source.read_bytes < source.size - 400_000 + 2 * 65_536, "the numbers are not read"
    attributes = index.modules[""].attributes
    assert attributes["after"] == "all"
    assert attributes["texts"] == texts
    assert attributes["numbers"] == list(range(100_000))
    np.testing.assert_array_equal(read(index.tensors["w"]), np.zeros(4))


@pytest.mark.slow
def test_opening_150000_tokens_takes_little_time_and_no_library(tmp_path: Path) -> None:
    """The whole process is to take 0.3 s; here its processor time, which other processes do not stretch."""

    def metadata(writer: GGUFWriter) -> None:
        writer.add_token_list([f"token number {number}" for number in range(150_000)])
        writer.add_token_scores([0.5] * 150_000)
        writer.add_token_merges([f"{number} {number}" for number in range(150_000)])

    (tmp_path / "model.gguf").write_bytes(written({"w": np.zeros(4, np.float32)}, metadata))
    program = (
        "import sys, time, statedict as sd; sd.open(sys.argv[1]); "
        "print(time.process_time(), *({'numpy', 'gguf', 'torch'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "model.gguf")]
    runs = [
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout.split()
        for _ in range(5)
    ]
    assert all(len(run) == 1 for run in runs)
    assert min(float(seconds) for (seconds,) in runs) < 0.3


def test_arrays_nested_without_end_meet_a_limit() -> None:
    bomb = struct.pack("<IQ", 9, 1) * 100_000
    with pytest.raises(LimitError, match=r"Limits\.depth"):
        index_of(packed(3, "<", [("bomb", 9, bomb)], []))
