"""Orbax's checkpoints: folders that JAX's `orbax.checkpoint` writes, with and without OCDBT, in zarr 2 and 3.

`_METADATA` tells, as JSON, the path of each value in the nested object that was saved. Each array is one of zarr, by
its path joined with dots: all in one OCDBT database (`manifest.ocdbt`), or each in a folder of its own. Strings are in
`_strings.json`. A step of a `CheckpointManager` is a folder of such folders, one for each item, beside items in JSON.
The database, and all values, are read by tensorstore.
"""

import json
import math
from typing import Any

from statedict.dtypes import DTYPES, DType
from statedict.errors import FormatError, LimitError
from statedict.formats._flax import with_roles
from statedict.formats._graph import index_of
from statedict.formats._nested import nested
from statedict.formats._numpy import CODES
from statedict.formats._stored import Storage, StoredTensor, integers
from statedict.formats._tensorstore import DESCRIPTIONS, Arrays, ArraySource
from statedict.index import Index, contiguous, shown
from statedict.limits import Limits
from statedict.narrow import is_dict, is_list
from statedict.opaque import Opaque
from statedict.source import Extent, Folder, Source

_STRUCTURE, _DATABASE, _STEP = "_METADATA", "manifest.ocdbt", "_CHECKPOINT_METADATA"
_STRINGS, _JSON_ITEM = "_strings.json", "metadata"
_DEFAULT = "default"
"""What a manager calls the item of one who names none."""
_SEQUENCE = 1
"""The type of a key that is a position."""
_EMPTY: dict[str, Any] = {"Dict": {}, "List": [], "Tuple": (), "NamedTuple": {}, "None": None}

_ELEMENTS = {name for name in DTYPES if name in CODES.values() or name.startswith(("bfloat16", "float8_", "int4"))}
"""Those that both tensorstore and PyTorch have."""


def sniff(head: bytes, source: Source) -> bool:
    """Whether it is a folder with the database or the structure of such a checkpoint, or a step that holds some."""
    return isinstance(source, Folder) and (_is_item(source) or bool(_items(source)))


def _is_item(folder: Folder) -> bool:
    return _DATABASE in folder.names or _STRUCTURE in folder.names


def _items(folder: Folder) -> dict[str, Folder]:
    """The items of a step that hold arrays, by name."""
    names = folder.names if _STEP in folder.names else ()
    inside = {name[:-1]: folder.folder(name[:-1]) for name in names if name.endswith("/")}
    return {name: item for name, item in inside.items() if _is_item(item)}


def read(source: Source, limits: Limits) -> Index:
    """The index of a checkpoint, or of all items of a step. Raises FormatError, and MissingExtraError for a database.

    The one item of a step that was given no name stands at the top.
    """
    if not isinstance(source, Folder):
        raise FormatError(f"{source.name}: an Orbax checkpoint is a folder; open the folder")
    if _is_item(source):
        graph: Any = _Item(source, limits).graph()
    else:
        items = {name: _Item(item, limits).graph() for name, item in _items(source).items()}
        graph = items[_DEFAULT] if len(items) == 1 and _DEFAULT in items else items
        graph = {**_objects(source, limits), **graph}
    return with_roles(index_of(graph, "orbax", source, limits, {}))


def _objects(folder: Folder, limits: Limits) -> dict[str, Any]:
    """The items of a step that are JSON."""
    inside = {name[:-1]: folder.folder(name[:-1]) for name in folder.names if name.endswith("/")}
    return {name: _json(item, _JSON_ITEM, limits) for name, item in inside.items() if _JSON_ITEM in item.names}


def _json(folder: Folder, file: str, limits: Limits) -> Any:
    return _parsed(_bytes(folder, file, limits), folder.at(file))


def _bytes(folder: Folder, file: str, limits: Limits) -> bytes:
    """All of a file. Raises LimitError where it is too long to be a description."""
    source = folder.sibling(file)
    if source.size > limits.header_bytes:
        raise LimitError(
            f"{source.name}: has {source.size:,} bytes; `Limits.header_bytes` allows {limits.header_bytes:,}"
        )
    return source.read_at(0, source.size)


def _parsed(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: is no JSON: {error}") from None


class _Item:
    """One nested object, and the arrays that it holds."""

    def __init__(self, folder: Folder, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._arrays = Arrays(folder, database=_DATABASE in folder.names)
        self._described = self._descriptions()
        strings: Any = _json(folder, _STRINGS, limits) if _STRINGS in folder.names else {}
        self._strings: dict[str, Any] = strings if is_dict(strings) else {}

    def _descriptions(self) -> dict[str, tuple[str, bytes]]:
        if _DATABASE in self._folder.names:
            return self._arrays.descriptions(self._limits)
        found: dict[str, tuple[str, bytes]] = {}
        for name in (name[:-1] for name in self._folder.names if name.endswith("/")):
            inside = self._folder.folder(name)
            for file in DESCRIPTIONS.keys() & set(inside.names):
                found[name] = DESCRIPTIONS[file], _bytes(inside, file, self._limits)
        return found

    def graph(self) -> dict[Any, Any]:
        """The object that was saved: dicts and lists, with tensors, strings and None in them."""
        entries = [(path, self._value(path, kind)) for path, kind in self._paths()]
        listed = {_joined(path) for path, _ in entries}
        others = [(tuple(name.split(".")), self._tensor(name)) for name in self._described if name not in listed]
        return nested(entries + others)

    def _paths(self) -> list[tuple[tuple[Any, ...], str]]:
        """The path of each value in the object, and what kind of value it is."""
        if _STRUCTURE not in self._folder.names:
            return []
        where = f"{self._folder.name}: {_STRUCTURE}"
        structure = _json(self._folder, _STRUCTURE, self._limits)
        try:
            tree = structure["tree_metadata"]
            return [(_path(entry["key_metadata"]), entry["value_metadata"]["value_type"]) for entry in tree.values()]
        except (KeyError, TypeError, AttributeError, ValueError):
            raise FormatError(f"{where} has no `tree_metadata` of keys and values; the checkpoint is damaged") from None

    def _value(self, path: tuple[Any, ...], kind: Any) -> Any:
        name = _joined(path)
        if name in self._described:
            return self._tensor(name)
        if kind == "string" and isinstance(self._strings.get(name), str):
            return self._strings[name]
        if kind in _EMPTY:
            return _EMPTY[kind]
        raise FormatError(
            f"{self._folder.name}: `{shown(name)}` ({shown(str(kind))}) is listed, but not there; fetch all files of "
            "the checkpoint"
        )

    def _tensor(self, name: str) -> Any:
        """An array as a tensor, of whose values nothing is read; as a description where no tensor has such elements."""
        driver, text = self._described[name]
        where = f"{self._folder.name}: array `{shown(name)}`"
        description = _parsed(text, where)
        kind: Any = description.get("dtype", description.get("data_type")) if is_dict(description) else None
        try:
            shape = integers(tuple(description["shape"]))
        except (KeyError, TypeError):
            shape = (-1,)
        if kind is None or min(shape, default=0) < 0:
            raise FormatError(f"{where} has no shape and type; the checkpoint is damaged")
        dtype = _dtype(kind)
        if dtype is None:
            return Opaque("zarr.Array", (), {"shape": shape, "dtype": kind})
        source = ArraySource(self._arrays, name, driver, dtype, shape, where)
        storage = Storage(dtype, math.prod(shape), "cpu", Extent(source, 0, source.size))
        return StoredTensor(storage, 0, shape, contiguous(shape), dtype)


def _path(keys: Any) -> tuple[Any, ...]:
    """The keys that lead to a value: positions in lists as numbers. Raises TypeError, ValueError for anything else."""
    if not is_list(keys) or not keys:
        raise TypeError("no list of keys")
    return tuple(int(key["key"]) if key["key_type"] == _SEQUENCE else str(key["key"]) for key in keys)


def _joined(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _dtype(kind: Any) -> DType | None:
    """The element type by zarr's name of it: numpy's code in version 2, its name in 3 and of those that numpy lacks."""
    if not isinstance(kind, str):
        return None
    name = CODES.get(kind.lstrip("<>|="), kind)
    return DTYPES[name] if name in _ELEMENTS else None
