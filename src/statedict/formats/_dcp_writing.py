"""Writing a distributed checkpoint as one rank writes it: the inverse of what `dcp` reads."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from statedict import collector
from statedict.errors import StatedictError
from statedict.formats._objects import named, object_of
from statedict.formats._pickle_writing import Call, Global, Items, Made
from statedict.formats._torch_writing import TorchPickle, archived, dtype_global
from statedict.index import PLAIN, Index, TensorInfo, shown
from statedict.narrow import is_dict, is_list
from statedict.plan import Late, Piece, Plan, Summed, size_of

Path = tuple[str | int, ...]

_METADATA = ".metadata"
_VERSION = "1.0.0"
_MODULE = "torch.distributed.checkpoint.metadata"
_SIZE = Global("torch", "Size")
_STRIDED = Call(Global("torch.serialization", "_get_layout"), ("torch.strided",))
_CONTIGUOUS = Call(Global(_MODULE, "_MEM_FORMAT_ENCODING"), (0,))


def plans(index: Index, taken: frozenset[str]) -> dict[str, Plan]:
    """The files of a distributed checkpoint: what `dcp.write_folder` says."""
    files = (f"__0_{number}.distcp" for number in itertools.count())
    writing = FolderWriting(next(name for name in files if name not in taken))
    try:
        with collector.paused():
            value, notes = object_of(index)
            for path, held in leaves(value if is_dict(value) else {"value": value}):
                writing.add(path, held)
    except RecursionError:
        raise StatedictError(
            "the model is nested deeper than Python can follow; save its parts by themselves"
        ) from None
    return writing.plans(notes)


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield what PyTorch saves under a name of its own, each with its path: tensors, and values that hold none.

    Keys become texts, as there. Lists are one value, unless they hold dicts or tensors.
    """
    if is_dict(value):
        for key, held in value.items():
            yield from leaves(held, (*path, str(key)))
    elif is_list(value) and _divides(value):
        for position, held in enumerate(value):
            yield from leaves(held, (*path, position))
    else:
        yield path, value


def _divides(values: list[Any]) -> bool:
    return any(is_dict(each) or isinstance(each, TensorInfo) or (is_list(each) and _divides(each)) for each in values)


class FolderWriting:
    """The one file of data as it grows, and what `.metadata` says of it."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._pieces: list[Piece] = []
        self._size = 0
        self._sums = 0
        self._places: dict[int, Made] = {}
        self._described: dict[str, Made] = {}
        self._stored: list[tuple[Made, Made]] = []
        self._paths: dict[str, Path] = {}
        self._left_out: list[str] = []

    def add(self, path: Path, value: Any) -> None:
        """Save a tensor, or another value. Raises StatedictError for one that is not strided, and a name met twice."""
        name = ".".join(map(str, path))
        if name in self._described:
            raise StatedictError(f"two entries are called `{shown(name)}` in a distributed checkpoint; rename one")
        if isinstance(value, TensorInfo):
            self._tensor(name, value)
        else:
            pickle = self._pickled(value)
            self._left_out += [".".join(filter(None, (name, place))) for place, _ in pickle.left_out]
            if not any(place == "" for place, _ in pickle.left_out):
                self._described[name] = Made(Global(_MODULE, "BytesStorageMetadata"), {})
                self._stored.append((_key(name, None), self._append(pickle)))
        self._paths[name] = path

    def _tensor(self, name: str, info: TensorInfo) -> None:
        if info.extent is None or info.encoding is not PLAIN or info.shape is None:
            raise StatedictError(
                f"tensor `{shown(name)}` is no plain one, which a distributed checkpoint cannot hold; "
                "drop it, or save a .pt file"
            )
        offsets, sizes = Call(_SIZE, ((0,) * len(info.shape),)), Call(_SIZE, (info.shape,))
        chunk = Made(Global(_MODULE, "ChunkStorageMetadata"), {"offsets": offsets, "sizes": sizes})
        properties = (dtype_global(info.dtype, name), _STRIDED, False, _CONTIGUOUS, False)
        fields = {
            "properties": Made(Global(_MODULE, "TensorProperties"), properties),
            "size": sizes,
            "chunks": [chunk],
        }
        self._described[name] = Made(Global(_MODULE, "TensorStorageMetadata"), fields)
        if id(info) not in self._places:  # tied ones lie in one place
            self._places[id(info)] = self._append(self._pickled(info))
        self._stored.append((_key(name, offsets), self._places[id(info)]))

    def _pickled(self, value: Any) -> TorchPickle:
        pickle = TorchPickle()
        pickle.save(value)
        return pickle

    def _append(self, pickle: TorchPickle) -> Made:
        """Put a whole `torch.save` file behind the others; where it lies."""
        pieces = archived(pickle)
        start, first = self._size, self._sums
        self._sums += sum(isinstance(piece, Summed) for piece in pieces)
        self._size += sum(map(size_of, pieces))
        for piece in pieces:
            if isinstance(piece, Late):
                piece = Late(piece.size, partial(_of_part, piece.make, first, self._sums))
            self._pieces.append(piece)
        place = {"relative_path": self._file, "offset": start, "length": self._size - start}
        return Made(Global("torch.distributed.checkpoint.filesystem", "_StorageInfo"), place)

    def plans(self, notes: tuple[str, ...]) -> dict[str, Plan]:
        """The files, that which makes the others a checkpoint last."""
        metadata = {
            "state_dict_metadata": self._described,
            "planner_data": self._paths,
            "storage_data": Items(self._stored),
            "storage_meta": None,
            "version": _VERSION,
        }
        pickle = TorchPickle()
        pickle.save(Made(Global(_MODULE, "Metadata"), metadata))
        if self._left_out:
            notes = (*notes, f"values that PyTorch would refuse, left out: {named(self._left_out)}")
        return {self._file: Plan(tuple(self._pieces), notes), _METADATA: Plan((pickle.finished(),))}


def _key(name: str, offset: Call | None) -> Made:
    """Under what `.metadata` has the place of a tensor's only piece, or of another value."""
    fields = {"fqn": name, "index": None} if offset is None else {"fqn": name, "index": 0, "offset": offset}
    return Made(Global(_MODULE, "MetadataIndex"), fields)


def _of_part(make: Callable[[Sequence[int]], bytes], first: int, last: int, sums: Sequence[int]) -> bytes:
    """What an archive makes of its own checksums, which are some of the whole file's."""
    return make(sums[first:last])
