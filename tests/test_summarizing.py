"""Summaries of files that are read in C: what numpy says of the same elements, without numpy."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import statedict as sd
from statedict import accelerator, kernels
from statedict.accelerator import BLOCK, CODES
from statedict.dtypes import DTYPES
from statedict.errors import FormatError
from statedict.source import FileSource
from statedict.summarizing import SUMMARIZE
from statedict.units import Stretch

needs_c = pytest.mark.skipif(
    not hasattr(accelerator.library(), "summarize_file"), reason="the accelerator was not built, or cannot read files"
)
NUMBERS = np.random.default_rng(0).normal(0, 0.02, BLOCK + 1000)


@needs_c
@given(
    name=st.sampled_from(sorted(CODES)),
    cuts=st.lists(st.tuples(st.integers(0, 3 * BLOCK), st.integers(1, BLOCK + 900)), min_size=1, max_size=5),
    data=st.binary(min_size=64, max_size=64),
)
@settings(deadline=None, max_examples=40)
def test_stretches_of_a_file_are_what_the_kernel_says_of_their_elements(
    tmp_path_factory: pytest.TempPathFactory, name: str, cuts: list[tuple[int, int]], data: bytes
) -> None:
    """Whatever the bits, wherever they begin, in blocks and between them."""
    path = tmp_path_factory.getbasetemp() / "some.bin"
    path.write_bytes(data * (8 * (BLOCK + 1000) // 64 + 3 * BLOCK // 64 + 1))
    dtype, source = DTYPES[name], FileSource(path)
    stretches = [Stretch(dtype, offset, numel) for offset, numel in cuts]
    found = SUMMARIZE.of_files([source], stretches)
    assert found is not None
    for (_, offset, numel, *_), summary in zip(stretches, found, strict=True):
        values = np.frombuffer(path.read_bytes()[offset : offset + dtype.nbytes(numel)], dtype.to_numpy())
        assert repr(summary) == repr(kernels.summarize(dtype, values.copy()))


@needs_c
def test_what_a_file_no_longer_holds_is_said_as_always(tmp_path: Path) -> None:
    sd.save({"a": np.arange(10000.0), "b": np.arange(10.0)}, tmp_path / "net.safetensors")
    model = sd.open(tmp_path / "net.safetensors")
    os.truncate(tmp_path / "net.safetensors", 5000)
    with pytest.raises(FormatError, match=r"net\.safetensors: expected .* truncated"):
        sd.stats(model)


@needs_c
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_file_and_bytes_give_the_same_bits(tmp_path: Path, threads: int) -> None:
    model = {
        name: NUMBERS.astype(DTYPES[name].to_numpy()) for name in ("float32", "bfloat16", "float16", "float8_e5m2")
    }
    sd.save(model, tmp_path / "net.safetensors")
    in_file = sd.open(tmp_path / "net.safetensors")
    in_memory = sd.open((tmp_path / "net.safetensors").read_bytes())
    expected = [repr(each.summary) for each in sd.stats(in_memory).tensors]
    assert [repr(each.summary) for each in sd.stats(in_file, threads=threads).tensors] == expected


@needs_c
@pytest.mark.parametrize(
    "asked",
    [
        pytest.param((0, b"\0" * 24, bytearray(1), bytearray(96)), id="no room"),
        pytest.param((0, b"\0" * 24, bytearray(8 * BLOCK), bytearray(95)), id="nowhere to write"),
        pytest.param((0, b"\x63" + b"\0" * 23, bytearray(8 * BLOCK), bytearray(96)), id="no type"),
        pytest.param((0, b"\0" * 16 + b"\xff" * 8, bytearray(8 * BLOCK), bytearray(96)), id="fewer than none"),
    ],
)
def test_what_does_not_fit_is_refused(asked: tuple[int, bytes, bytearray, bytearray]) -> None:
    descriptor, stretches, room, out = asked
    with pytest.raises((ValueError, TypeError, BufferError)):
        accelerator.library().summarize_file(descriptor, bytearray(stretches), room, out)


@needs_c
def test_stats_of_a_file_load_no_numpy(tmp_path: Path) -> None:
    sd.save({"a": NUMBERS.astype("f4")}, tmp_path / "net.safetensors")
    code = "import sys, statedict as sd; sd.stats(sd.open(sys.argv[1])); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "net.safetensors")], check=True)
