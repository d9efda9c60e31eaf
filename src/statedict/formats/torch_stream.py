"""PyTorch's format before 1.6, which `torch.save` still writes on demand: pickles in a row, then bytes.

Five pickles: a magic number, the protocol version (1001), facts about the machine, the object, and the keys of its
storages; then each storage, in the order of the keys: its number of elements (8 bytes), its elements. All is
little-endian.
"""

from typing import Any

from statedict.errors import FormatError
from statedict.formats._graph import index_of
from statedict.formats._pickle import load, read_pickle
from statedict.formats._stored import Storage, count, storage_dtype
from statedict.formats._torch import KNOWN
from statedict.index import Index
from statedict.limits import Limits
from statedict.narrow import is_dict, is_list, is_tuple
from statedict.opaque import Opaque, text
from statedict.source import Extent, Source

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
_KEYS = (str, int)
_LONG_MAGIC = b"\x8a\x0a" + MAGIC_NUMBER.to_bytes(10, "little")


def sniff(head: bytes, source: Source) -> bool:
    """Whether the file begins with a pickle of PyTorch's magic number (in any of the pickle protocols)."""
    start = 2 if head.startswith(b"\x80") else 0  # behind the protocol, and behind the frame that protocol 4 has
    start += 9 if head.startswith(b"\x95", start) else 0
    return head.startswith((_LONG_MAGIC, b"L%dL\n" % MAGIC_NUMBER), start)


def read(source: Source, limits: Limits) -> Index:
    """The index of a file from before PyTorch 1.6. Raises FormatError where it is damaged."""
    graph, metadata = read_graph(source, limits)
    return index_of(graph, "torch legacy", source, limits, metadata)


def read_graph(source: Source, limits: Limits) -> tuple[Any, dict[str, Any]]:
    """The object that the file holds, described, and the facts about the machine that wrote it."""
    storages = _Storages(source)
    heads: list[Any] = []
    position = 0
    for _ in range(3):
        data, position = read_pickle(source, position, limits)
        heads.append(load(data, source.name, {}, storages.load))
    if heads[:2] != [MAGIC_NUMBER, PROTOCOL_VERSION]:
        raise FormatError(f"{source.name}: protocol version {text(heads[1], 9)}, but only 1001 was ever in use")
    data, position = read_pickle(source, position, limits)
    graph = load(data, source.name, KNOWN, storages.load)
    data, position = read_pickle(source, position, limits)
    storages.place(load(data, source.name, {}, storages.load), position)
    return graph, {"sys_info": _plain(heads[2])} if is_dict(heads[2]) else {}


def _plain(facts: dict[Any, Any]) -> dict[str, Any]:
    """The byte order and the sizes of C's types, as PyTorch wrote them."""
    sizes = facts.get("type_sizes")
    kept = {name: value for name, value in facts.items() if type(value) in (str, int, bool)}
    return kept | ({"type_sizes": {str(name): size for name, size in sizes.items()}} if is_dict(sizes) else {})


class _Storages:
    """The storages that the pickle refers to, whose bytes lie behind it in an order that is told at its end."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._roots: dict[str, list[Storage]] = {}
        self._views: dict[Any, tuple[Storage, str, int]] = {}

    def load(self, pid: Any) -> Any:
        kind = pid[0] if is_tuple(pid) and pid else None
        if kind == "module" and len(pid) > 1:
            return pid[1]  # a class, beside which its source code was saved
        if kind != "storage" or len(pid) < 5:
            return Opaque("persistent_load", (pid,))
        _, storage_class, key, device, numel, *view = pid
        if not all(type(part) in _KEYS for part in (key, device, numel)):
            return Opaque("persistent_load", (pid,))
        dtype = storage_dtype(storage_class)
        roots = self._roots.setdefault(str(key), [])
        root = next((made for made in roots if made.dtype is dtype), None)
        if root is None:
            root = Storage(dtype, count(numel), str(device))
            roots.append(root)
        if not view or not is_tuple(view[0]):
            return root
        view_key, offset, size = view[0]
        if not all(type(part) in _KEYS for part in view[0]):
            return Opaque("persistent_load", (pid,))
        if (str(key), view_key) not in self._views:
            self._views[str(key), view_key] = Storage(dtype, count(size), str(device)), str(key), count(offset)
        return self._views[str(key), view_key][0]

    def place(self, keys: Any, position: int) -> None:
        """Say where each storage's bytes lie: one after the other from `position` on, each behind its length."""
        source = self._source
        for key in keys if is_list(keys) or is_tuple(keys) else ():
            roots = self._roots.get(str(key)) if type(key) in _KEYS else None
            if not roots:
                raise FormatError(
                    f"{source.name}: its end lists a storage `{text(key, 9)}` that no tensor has; the file is damaged"
                )
            numel = int.from_bytes(source.read_at(position, 8), "little")
            size = roots[0].nbytes(numel)
            for root in roots:
                root.extent = self._extent(key, position + 8, size, root)
            position += 8 + size
        for view, key, offset in self._views.values():
            roots = self._roots[key]
            if roots[0].extent is not None:
                begin = roots[0].extent.offset + view.nbytes(offset)
                view.extent = Extent(source, begin, view.nbytes(view.numel))
        missing = next((key for key, roots in self._roots.items() for root in roots if root.extent is None), None)
        if missing is not None:
            raise FormatError(f"{source.name}: its end does not list storage `{missing}`; the file is damaged")

    def _extent(self, key: Any, offset: int, size: int, root: Storage) -> Extent:
        if size < root.nbytes(root.numel):
            raise FormatError(
                f"{self._source.name}: storage `{key}` has {size:,} bytes, but its pickle says "
                f"{root.nbytes(root.numel):,}; the file is damaged"
            )
        if offset + size > self._source.size:
            raise self._source.ends_before(offset + size)
        return Extent(self._source, offset, size)
