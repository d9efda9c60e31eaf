"""NumPy's .npz: a zip archive in which each array `NAME` is a member `NAME.npy`, stored or deflated (numpy.savez).

A name is kept as it is: its dots divide it into modules, as everywhere; slashes, as in Haiku's names, do not.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from statedict.errors import StatedictError
from statedict.formats import npy
from statedict.formats._graph import index_of
from statedict.formats._numpy import CODES
from statedict.formats._plain import elements, listed, no_such_type, said, ties
from statedict.formats._zip import first_name, is_empty_zip, read_zip
from statedict.index import Index, shown
from statedict.limits import Limits
from statedict.opaque import Opaque
from statedict.plan import Plan
from statedict.source import Extent, Source

_SUFFIX = ".npy"
_ALIGNMENT = 64
"""Of a member, and in it of the array's bytes, as numpy itself aligns them."""
_DESCRIPTIONS = {name: f"{'|' if code[1:] == '1' else '<'}{code}" for code, name in CODES.items()} | {
    "bits8": "|V1",
    "bits16": "|V2",
}
"""How numpy describes each element type that it has."""


def sniff(head: bytes, source: Source) -> bool:
    """Whether it is a zip archive whose first member is an array; `numpy.savez` of nothing writes an empty one."""
    return first_name(head, source).endswith(_SUFFIX) or is_empty_zip(head)


def read(source: Source, limits: Limits) -> Index:
    """The index of an .npz file. Raises FormatError where the archive, or an array in it, is damaged."""
    arrays = {
        name.removesuffix(_SUFFIX): _entry(name, member, limits, f"{source.name}: {shown(name)}")
        for name, member in read_zip(source, limits).items()
    }
    return index_of(arrays, "npz", source, limits, {})


def _entry(name: str, member: Source, limits: Limits, where: str) -> Any:
    if name.endswith(_SUFFIX):
        return npy.array(member, limits, where)
    return Opaque("file", (), {"bytes": member.size})


def write(index: Index) -> Plan:
    """The .npz file of an index, laid out as `numpy.savez` does, without compression.

    Tied tensors are written under each of their names. Raises StatedictError, naming the tensor, for what numpy itself
    cannot hold: bfloat16, for example.
    """
    from statedict.formats._zip_writing import archive  # which reading does not need

    notes: list[str] = []
    if aliases := index.aliases():
        notes.append(f"tied tensors are written under each name, as .npz has no ties: {ties(aliases)}")
    if metadata := said(index.metadata):
        notes.append(f"metadata left out, as .npz has no place for them: {listed(metadata)}")
    return Plan(archive(_members(index), alignment=_ALIGNMENT), tuple(notes))


def _members(index: Index) -> Iterator[tuple[str, tuple[bytes, Extent]]]:
    for name, info in index.tensors.items():
        shape, extent = elements(info, "numpy")
        description = _DESCRIPTIONS.get(info.dtype.name)
        if description is None:
            raise no_such_type(name, info.dtype, "numpy", "complex64" if info.dtype.is_complex else "float32")
        if "\0" in name:
            raise StatedictError(f"tensor `{shown(name)}` has a NUL in its name, where numpy ends it; rename it")
        yield name + _SUFFIX, (_header(description, shape), extent)


@lru_cache(4096)  # a model's tensors have few different shapes
def _header(description: str, shape: tuple[int, ...]) -> bytes:
    """What stands before an array's bytes (numpy.lib.format, version 1.0)."""
    text = f"{{'descr': '{description}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    padding = -(len(npy.MAGIC) + 4 + len(text) + 1) % _ALIGNMENT
    return npy.MAGIC + b"\1\0" + (len(text) + padding + 1).to_bytes(2, "little") + text + b" " * padding + b"\n"
