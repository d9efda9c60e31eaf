"""NumPy's .npy: a magic, a version, a header that is a Python literal, the array's bytes (NEP 1, numpy.lib.format).

Types that numpy itself has not, such as ml_dtypes' bfloat16, it saves as bytes without a meaning ("V2"): they come as
bits8 and bits16, as they are stored. Text becomes plain values; arrays of anything else are described by an `Opaque`.
"""

import ast
import math
import re
from functools import lru_cache
from typing import Any

from statedict.dtypes import DTYPES
from statedict.errors import FormatError, LimitError
from statedict.formats._graph import index_of
from statedict.formats._numpy import CODES, NumpyArray, nested
from statedict.formats._pickle import load, read_pickle
from statedict.formats._stored import Storage, StoredTensor, integers
from statedict.formats._torch import KNOWN
from statedict.index import Index, contiguous
from statedict.limits import Limits
from statedict.narrow import is_dict, is_tuple
from statedict.opaque import Opaque
from statedict.source import Extent, Source

MAGIC = b"\x93NUMPY"
_USUAL_HEADER = 256
_LONGEST_HEADER = 1 << 16
_LONGEST_TEXT = 1 << 20
_TYPES = {**CODES, "V1": "bits8", "f1": "bits8", "V2": "bits16"}  # ml_dtypes' float8_e5m2 is an f1, the others a V1
_CODE = re.compile(r"([<>|=]?)(([a-zA-Z])(\d*))")
_PYTHON_2_LONG = re.compile(r"(\d)L\b")


def sniff(head: bytes, source: Source) -> bool:
    """Whether the file begins with the magic."""
    return head.startswith(MAGIC)


def read(source: Source, limits: Limits) -> Index:
    """The index of a .npy file: one array, or the objects that were saved in one."""
    return index_of(array(source, limits, source.name), "npy", source, limits, {})


def array(source: Source, limits: Limits, where: str) -> Any:
    """What a .npy file holds: a tensor; the plain values of text; the graph of pickled objects; else an `Opaque`.

    Nothing of a tensor is read. Raises FormatError, naming `where`, where the file is damaged, LimitError for too large
    a header.
    """
    header, start = _header_bytes(source, where)
    try:
        code, fortran, shape = _header(header)
    except ValueError as error:
        raise FormatError(f"{where}: its header cannot be read: {error}; the file is damaged") from None
    order, whole, letter, size = found.groups() if (found := _CODE.fullmatch(code)) else ("", "", "", "")
    if letter == "O":
        return _objects(source, start, limits, where)
    if letter in ("U", "S") and math.prod(shape) * int(size or 0) <= _LONGEST_TEXT // 4:
        return _text(source, start, letter, int(size or 0), shape, big_endian=order == ">")
    if whole not in _TYPES:
        return Opaque("numpy.ndarray", (), {"shape": shape, "dtype": code})
    dtype, numel = DTYPES[_TYPES[whole]], math.prod(shape)
    extent = Extent(source, start, dtype.nbytes(numel))
    if start + extent.size > source.size:
        raise source.ends_before(start + extent.size)
    stride = contiguous(shape[::-1])[::-1] if fortran else contiguous(shape)
    return StoredTensor(Storage(dtype, numel, "cpu", extent, order == ">"), 0, shape, stride, dtype)


def _header_bytes(source: Source, where: str) -> tuple[bytes, int]:
    """The header's text, and where it ends and the array begins."""
    head = source.head(_USUAL_HEADER)
    if not head.startswith(MAGIC) or head[6:7] not in (b"\1", b"\2", b"\3"):
        raise FormatError(f"{where}: begins with {head[:8]!r}, not as a .npy file of version 1 to 3; fetch it again")
    start = 10 if head[6] == 1 else 12
    size = int.from_bytes(head[8:start], "little")
    if size > _LONGEST_HEADER:
        raise LimitError(f"{where}: a header of {size:,} bytes, of which {_LONGEST_HEADER:,} are the most allowed")
    if len(head) < start + size:
        head = source.read_at(0, start + size)
    return head[start : start + size], start + size


@lru_cache(4096)  # an archive's arrays have few different headers
def _header(header: bytes) -> tuple[str, bool, tuple[int, ...]]:
    """The dtype's code, whether columns come first, and the shape. Raises ValueError where the header is none."""
    text = header.decode("utf-8", "backslashreplace").strip()
    try:
        entries = ast.literal_eval(_PYTHON_2_LONG.sub(r"\1", text))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise ValueError(f"it is no Python literal: {text[:40]!r}") from None
    if not is_dict(entries) or not {"descr", "fortran_order", "shape"} <= entries.keys():
        raise ValueError(f"descr, fortran_order and shape are expected: {text[:60]!r}")
    shape = entries["shape"]
    if not is_tuple(shape) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"its shape is {str(shape)[:40]}")
    try:
        return str(entries["descr"]), entries["fortran_order"] is True, integers(shape)
    except TypeError:
        raise ValueError(f"its shape is {str(shape)[:40]}") from None


def _objects(source: Source, start: int, limits: Limits, where: str) -> Any:
    """What was pickled, described: an array of no dimensions is what it holds."""
    data, _ = read_pickle(source, start, limits, where=where)
    made = load(data, where, KNOWN, lambda pid: Opaque("persistent_load", (pid,)))
    return made.value if isinstance(made, NumpyArray) else made


def _text(source: Source, start: int, letter: str, size: int, shape: tuple[int, ...], big_endian: bool) -> Any:
    """Strings ("U": four bytes a character) or bytes ("S"), in lists as deep as the array has dimensions."""
    width = size * (4 if letter == "U" else 1)
    data = source.read_at(start, math.prod(shape) * width)
    pieces = [data[at * width : (at + 1) * width] for at in range(math.prod(shape))]
    if letter == "U":
        encoding = "utf-32-be" if big_endian else "utf-32-le"
        return nested([piece.decode(encoding, "replace").rstrip("\0") for piece in pieces], shape)
    return nested([piece.rstrip(b"\0") for piece in pieces], shape)
