"""Pairs of stretches of files that are compared in C: what numpy says of the same elements, without numpy."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import statedict as sd
from statedict import accelerator
from statedict.accelerator import BLOCK
from statedict.dtypes import DTYPES
from statedict.errors import FormatError
from statedict.ops.diff.looking import ANY, Looking, Tolerance
from statedict.pair_kernels import compare
from statedict.source import FileSource
from statedict.units import Stretch
from tests.numbers import FLOATS, ordinary_elements

needs_c = pytest.mark.skipif(
    not hasattr(accelerator.library(), "compare_file"), reason="the accelerator was not built, or cannot read files"
)
_MOST = BLOCK + 900
_PLACES = st.tuples(st.integers(0, BLOCK), st.integers(0, 999), st.integers(1, _MOST))


@needs_c
@given(st.sampled_from(FLOATS), st.sampled_from(FLOATS), st.lists(_PLACES, min_size=1, max_size=4), st.booleans())
@settings(deadline=None, max_examples=30)
def test_pairs_of_files_are_what_the_kernel_says_of_their_elements(
    tmp_path_factory: pytest.TempPathFactory, first: str, second: str, cuts: list[tuple[int, int, int]], spoiled: bool
) -> None:
    """Wherever they begin, in blocks and between them, equal in part, with NaN and without."""
    folder = tmp_path_factory.getbasetemp()
    sources: list[FileSource] = []
    for seed, name in enumerate((first, second)):
        values = ordinary_elements(name, BLOCK + 1000 + _MOST, seed=seed)
        values[: BLOCK // 3] = 0.5
        if spoiled:
            values[:: BLOCK // 2 + seed] = np.nan
        (folder / f"{seed}.bin").write_bytes(values.tobytes())
        sources.append(FileSource(folder / f"{seed}.bin"))
    old, new = DTYPES[first], DTYPES[second]
    reader = Looking(ANY, kinds=False).reader()
    assert reader is not None
    assert reader.takes(old)
    stretches = [Stretch(old, old.nbytes(a), numel, new, new.nbytes(b)) for a, b, numel in cuts]
    found = reader.of_files(sources, stretches)
    assert found is not None
    for stretch, look in zip(stretches, found, strict=True):
        a = np.frombuffer(sources[0].read_at(stretch.offset, old.nbytes(stretch.numel)), old.to_numpy())
        b = np.frombuffer(sources[1].read_at(stretch.beside, new.nbytes(stretch.numel)), new.to_numpy())
        assert repr(look.difference) == repr(compare(old, a, new, b))


@pytest.mark.parametrize("kinds", [True, False])
def test_with_a_tolerance_nothing_is_read_in_c(kinds: bool) -> None:
    assert Looking(Tolerance(1e-3), kinds=kinds).reader() is None


@needs_c
def test_kinds_that_are_refuted_are_looked_for_no_more() -> None:
    kernel, kind = Looking(ANY, kinds=True), DTYPES["float32"]
    a, b = (ordinary_elements("float32", 1000, seed=seed) for seed in range(2))
    kernel(kind, a, kind, a)
    first = kernel.reader()
    kernel(kind, a, kind, b)
    assert kernel.reader() not in (None, first)
    kernel.glanced(possible=True)
    assert kernel.reader() is None


def two(folder: Path) -> tuple[Path, Path]:
    """Two files of large and small tensors of several types, one after the other."""
    for seed in range(2):
        sizes = {"a": 3 * BLOCK + 5, "b": 7, "c": BLOCK, "d": 12 * BLOCK, "e": 1}
        kinds = dict(zip(sizes, ("bfloat16", "float32", "int16", "float16", "float64"), strict=True))
        tensors = {name: ordinary_elements(kinds[name], size, std=9, seed=seed) for name, size in sizes.items()}
        sd.save(tensors, folder / f"{seed}.safetensors")
    return folder / "0.safetensors", folder / "1.safetensors"


@needs_c
@pytest.mark.parametrize("kinds", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_files_and_bytes_give_the_same_bits(tmp_path: Path, threads: int, kinds: bool) -> None:
    files = two(tmp_path)
    first, second = (sd.open(each.read_bytes()) for each in files)
    in_memory = sd.diff(first, second, kinds=kinds)
    found = sd.diff(*files, threads=threads, kinds=kinds)
    assert len(found.rows) == 5
    assert [repr((each.values, each.kinds)) for each in found.rows] == [
        repr((each.values, each.kinds)) for each in in_memory.rows
    ]


@needs_c
def test_what_a_file_no_longer_holds_is_said_as_always(tmp_path: Path) -> None:
    first, second = (sd.open(each) for each in two(tmp_path))
    os.truncate(tmp_path / "1.safetensors", 5000)
    with pytest.raises(FormatError, match=r"1\.safetensors: expected .* truncated"):
        sd.diff(first, second, kinds=False)


@needs_c
@pytest.mark.parametrize(
    "asked",
    [
        pytest.param((b"\0" * 40, bytearray(1), bytearray(96)), id="no room"),
        pytest.param((b"\0" * 40, bytearray(16 * BLOCK), bytearray(95)), id="nowhere to write"),
        pytest.param((b"\4" + b"\0" * 39, bytearray(16 * BLOCK), bytearray(96)), id="whole numbers"),
        pytest.param((b"\0" * 32 + b"\xff" * 8, bytearray(16 * BLOCK), bytearray(96)), id="fewer than none"),
    ],
)
def test_what_does_not_fit_is_refused(asked: tuple[bytes, bytearray, bytearray]) -> None:
    pairs, room, out = asked
    with pytest.raises(ValueError, match="do not fit"):
        accelerator.library().compare_file(0, 0, bytearray(pairs), room, out)


@needs_c
@pytest.mark.parametrize("kinds", [True, False])
def test_what_is_of_no_kind_is_compared_without_numpy(tmp_path: Path, kinds: bool) -> None:
    two(tmp_path)
    code = f"import sys, statedict; statedict.diff(*sys.argv[1:], kinds={kinds}); assert 'numpy' not in sys.modules"
    files = [str(tmp_path / f"{each}.safetensors") for each in range(2)]
    subprocess.run([sys.executable, "-c", code, *files, "{a,d}"], check=True)
