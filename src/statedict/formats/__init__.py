"""The formats that can be read, as a table in the order in which a file is tried against them."""

import importlib
from dataclasses import dataclass
from typing import Protocol, cast

from statedict.errors import FormatError, StatedictError, UnknownFormatError
from statedict.index import Index, shown
from statedict.limits import Limits
from statedict.plan import Plan
from statedict.source import Folder, Source


class Reader(Protocol):
    """What each module of this package offers."""

    def sniff(self, head: bytes, source: Source) -> bool: ...

    def read(self, source: Source, limits: Limits) -> Index: ...


class Writer(Protocol):
    """What a module of this package offers, too, where its format is written."""

    def write(self, index: Index) -> Plan: ...


@dataclass(frozen=True, slots=True)
class Format:
    """One row: a format's name, the module that reads it (loaded on use), usual suffixes, and what it is."""

    name: str
    module: str
    signs: tuple["Sign", ...]
    """What a file of it begins with: one of these. Where it does, the module is loaded and asked."""
    suffixes: tuple[str, ...]
    about: str
    extra: str | None = None
    """What to install for some of its values, where the core does not do: `pip install statedict[EXTRA]`."""

    folders: bool = False
    """Whether it may be a folder, too."""
    writes: bool = False
    """Whether its module is a `Writer`, too."""
    inside: tuple[tuple[str, str], ...] = ()
    """How a file's name begins and ends, in small letters, of which a folder of it holds one. Of none it is asked."""

    def reader(self) -> Reader:
        """The module that reads it: one of this package, or of another, by its full name."""
        name = f"statedict.formats.{self.module}" if self in FORMATS else self.module
        return cast("Reader", importlib.import_module(name))

    def writer(self) -> Writer:
        """The same module. Raises StatedictError where it only reads."""
        if not self.writes:
            can = ", ".join(f'"{entry.name}"' for entry in FORMATS if entry.writes)
            raise StatedictError(f'the format "{self.name}" is read, but not written; expected one of {can}')
        return cast("Writer", self.reader())


Sign = tuple[int, bytes]
"""Bytes at an offset."""

_ZIP = ((0, b"PK\x03\x04"), (0, b"PK\x05\x06"))
_KERAS = tuple((30, name) for name in (b"metadata.json", b"config.json", b"model.weights.h5", b"assets/"))
"""Where a zip archive has the name of its first member."""
_PICKLE = ((0, b"\x80"),)
_MAP = tuple((0, bytes([first])) for first in (*range(0x80, 0x90), *range(0xC7, 0xCA), 0xDE, 0xDF))

FORMATS = (
    Format("safetensors", "safetensors", ((8, b"{"),), (".safetensors",), "safetensors, by any writer", writes=True),
    Format(
        "torchscript",
        "torchscript",
        _ZIP,
        (".pt", ".pth", ".jit", ".ptl"),
        "TorchScript, as `torch.jit.save` writes it",
    ),
    Format("pt2", "pt2", _ZIP, (".pt2",), "`torch.export.save`"),
    Format(
        "torch",
        "torch_zip",
        _ZIP,
        (".pt", ".pth", ".bin", ".ckpt"),
        "`torch.save` since PyTorch 1.6 (zip)",
        writes=True,
    ),
    Format(
        "torch legacy",
        "torch_stream",
        (*_PICKLE, (0, b"L")),
        (".pt", ".pth", ".bin", ".ckpt"),
        "`torch.save` before PyTorch 1.6 (pickles in a row)",
    ),
    Format("torch tar", "torch_tar", ((257, b"ustar"),), (".pt", ".pth"), "`torch.save` of PyTorch 0.1 (tar)"),
    Format(
        "gguf",
        "gguf",
        ((0, b"GGUF"),),
        (".gguf",),
        "GGUF, as llama.cpp has it; splits, and folders of one",
        extra="gguf",
        folders=True,
        writes=True,
        inside=(("", ".gguf"),),
    ),
    Format("onnx", "onnx", ((0, b"\x08"),), (".onnx",), "ONNX"),
    Format("tflite", "tflite", ((4, b"TFL3"),), (".tflite",), "TensorFlow Lite, now LiteRT"),
    Format("npz", "npz", _ZIP, (".npz",), "`numpy.savez`", writes=True),
    Format("npy", "npy", ((0, b"\x93NUMPY"),), (".npy",), "`numpy.save`"),
    Format("keras", "keras", _KERAS, (".keras",), "Keras 3's `model.save`", extra="hdf5"),
    Format(
        "hdf5",
        "hdf5",
        ((0, b"\x89HDF"), (0, b"MATLAB 7.3")),
        (".h5", ".hdf5"),
        "HDF5: Keras's weights and whole models, and others",
        extra="hdf5",
    ),
    Format("msgpack", "msgpack", _MAP, (".msgpack",), "Flax's msgpack"),
    Format(
        "dcp",
        "dcp",
        (),
        (),
        "folders that `torch.distributed.checkpoint.save` wrote",
        folders=True,
        writes=True,
        inside=((".metadata", ""),),
    ),
    Format(
        "dcp safetensors",
        "dcp_safetensors",
        (),
        (),
        "the same, written by its `HuggingFaceStorageWriter`",
        folders=True,
        inside=(("shard-", ".safetensors"),),
    ),
    Format(
        "orbax",
        "orbax",
        (),
        (),
        "folders that JAX's `orbax.checkpoint` wrote",
        extra="orbax",
        folders=True,
        inside=(("_metadata", ""), ("manifest.ocdbt", ""), ("_checkpoint_metadata", "")),
    ),
    Format(
        "folder",
        "sharded",
        ((0, b"{"),),
        (".index.json",),
        "folders of safetensors or `torch.save` files",
        folders=True,
    ),
    Format("pickle", "pickled", _PICKLE, (".pkl", ".pickle"), "`pickle.dump` of tensors or numpy arrays"),
)

_HEAD = 512
_MOST_NAMES = 6
"""Of a folder's files that an error names."""
_NOT_WEIGHTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"<!DOCTYPE", "a web page: the download went wrong, fetch the file itself"),
    (b"<html", "a web page: the download went wrong, fetch the file itself"),
)


def read(source: Source, limits: Limits, name: str | None = None) -> Index:
    """The index of a file: its format told from its first bytes, or the one of that `name`.

    Raises UnknownFormatError where none fits, FormatError where two do or the file is damaged.
    """
    if name is not None:
        return _named(name, source).reader().read(source, limits)
    if source.size == 0 and not isinstance(source, Folder):
        raise UnknownFormatError(
            f"{source.name}: is empty (0 bytes), so it holds no checkpoint; fetch or save it again"
        )
    head = source.head(_HEAD)
    claims = _claims(source, head) or _claims(source, head, others())
    if len(claims) > 1:
        names = " and ".join(f'"{entry.name}"' for entry in claims)
        raise FormatError(f"{source.name}: could be {names}; say which with `format=`")
    if not claims:
        raise _unknown(source, head)
    return claims[0].reader().read(source, limits)


def is_called_so(name: str) -> bool:
    """Whether a file's name ends as one of the formats' usually does."""
    return any(name.lower().endswith(suffix) for entry in FORMATS for suffix in entry.suffixes)


def entered(source: Source, key: str | None) -> tuple[Source, str | None]:
    """The folder that `key` begins with, and the rest of it, where weights lie only in the folders of a folder."""
    while key and isinstance(source, Folder) and not _claims(source, b""):
        name, _, rest = key.partition(".")
        if name + "/" not in source.names:
            break
        source, key = source.folder(name), rest or None
    return source, key


def others() -> tuple[Format, ...]:
    """The formats of other packages, which are asked where none of `FORMATS` fits; those without signs always are.

    Raises StatedictError for one that is not what a format has to be.
    """
    from statedict.formats._plugged import plugged

    return plugged(Format)


def _claims(source: Source, head: bytes, formats: tuple[Format, ...] = FORMATS) -> list[Format]:
    """Those that the bytes fit: if any has the file's suffix, those, and no other is loaded."""
    if isinstance(source, Folder):
        possible = [entry for entry in formats if entry.folders and _may_be_in(entry, source)]
    else:
        possible = [e for e in formats if _begins(e, head) or (formats is not FORMATS and not e.signs)]
    suffix = source.name[source.name.rfind(".") :].lower()
    likely = [entry for entry in possible if suffix in entry.suffixes]
    return _sniffed(likely, source, head) or _sniffed([e for e in possible if e not in likely], source, head)


def _sniffed(formats: list[Format], source: Source, head: bytes) -> list[Format]:
    return [entry for entry in formats if entry.reader().sniff(head, source)]


def _may_be_in(entry: Format, folder: Folder) -> bool:
    names = map(str.lower, folder.names) if entry.inside else ()
    return not entry.inside or any(name.startswith(a) and name.endswith(b) for name in names for a, b in entry.inside)


def _begins(entry: Format, head: bytes) -> bool:
    return any(head.startswith(sign, offset) for offset, sign in entry.signs)


def _named(name: str, source: Source) -> Format:
    for entry in FORMATS:
        if entry.name == name:
            return entry
    for entry in others():
        if entry.name == name:
            return entry
    names = ", ".join(f'"{entry.name}"' for entry in (*FORMATS, *others()))
    raise UnknownFormatError(f"{source.name}: there is no format `{name}`; expected one of {names}")


def _unknown(source: Source, head: bytes) -> UnknownFormatError:
    if isinstance(source, Folder):
        return _no_weights(source)
    for start, what in _NOT_WEIGHTS:
        if head.lower().startswith(start.lower()):
            return UnknownFormatError(f"{source.name}: {what}")
    shown = (
        head[:12].decode("ascii")
        if head[:12].isascii() and head[:12].decode("ascii").isprintable()
        else head[:8].hex(" ")
    )
    return UnknownFormatError(
        f"{source.name}: begins with `{shown}`, which is no checkpoint format that statedict knows "
        f"({', '.join(entry.name for entry in FORMATS)})"
    )


def _no_weights(folder: Folder) -> UnknownFormatError:
    names = [name.removesuffix("/") for name in folder.names if name.endswith("/") and not name.startswith(".")]
    inside = [f"`{folder.at(name)}`" for name in names if _claims(folder.folder(name), b"")]
    held = inside or [f"`{shown(name)}`" for name in folder.names]
    few = ", ".join(held[:_MOST_NAMES]) + ", …" * (len(held) > _MOST_NAMES)
    if inside:
        return UnknownFormatError(
            f"{folder.name}: weights lie only in the folders in it: open {few}, or name it as key"
        )
    return UnknownFormatError(
        f"{folder.name}: a folder without weights that statedict knows: it holds {few or 'nothing'}"
    )
