"""NumPy's .npz: a zip archive in which each array `NAME` is a member `NAME.npy`, stored or deflated (numpy.savez).

A name is kept as it is: its dots divide it into modules, as everywhere; slashes, as in Haiku's names, do not.
"""

from typing import Any

from statedict.formats import npy
from statedict.formats._graph import index_of
from statedict.formats._zip import first_name, is_empty_zip, read_zip
from statedict.index import Index, shown
from statedict.limits import Limits
from statedict.opaque import Opaque
from statedict.source import Source

_SUFFIX = ".npy"


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
