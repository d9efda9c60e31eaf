"""The formats that can be read, as a table in the order in which a file is tried against them."""

import importlib
from dataclasses import dataclass
from typing import Protocol, cast

from statedict.errors import FormatError, UnknownFormatError
from statedict.index import Index
from statedict.limits import Limits
from statedict.source import Source


class Reader(Protocol):
    """What each module of this package offers."""

    def sniff(self, head: bytes, source: Source) -> bool: ...

    def read(self, source: Source, limits: Limits) -> Index: ...


@dataclass(frozen=True, slots=True)
class Format:
    """One row: a format's name, the module that reads it (loaded on use), usual suffixes, and what it is."""

    name: str
    module: str
    suffixes: tuple[str, ...]
    about: str

    def reader(self) -> Reader:
        """The module that reads it."""
        return cast("Reader", importlib.import_module(f"statedict.formats.{self.module}"))


FORMATS = (
    Format("safetensors", "safetensors", (".safetensors",), "safetensors, by any writer"),
    Format("torch", "torch_zip", (".pt", ".pth", ".bin", ".ckpt"), "`torch.save` since PyTorch 1.6 (zip)"),
    Format(
        "torch legacy",
        "torch_stream",
        (".pt", ".pth", ".bin", ".ckpt"),
        "`torch.save` before PyTorch 1.6 (pickles in a row)",
    ),
    Format("torch tar", "torch_tar", (".pt", ".pth"), "`torch.save` of PyTorch 0.1 (tar)"),
    Format("pickle", "pickled", (".pkl", ".pickle"), "`pickle.dump` of tensors or numpy arrays"),
)

_HEAD = 512
_NOT_WEIGHTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"<!DOCTYPE", "a web page: the download went wrong, fetch the file itself"),
    (b"<html", "a web page: the download went wrong, fetch the file itself"),
    (b"GGUF", "a GGUF file, which this version does not read yet"),
    (b"\x89HDF", "an HDF5 file, which this version does not read yet"),
    (b"\x93NUMPY", "a NumPy array, which this version does not read yet"),
)


def read(source: Source, limits: Limits, name: str | None = None) -> Index:
    """The index of a file: its format told from its first bytes, or the one of that `name`.

    Raises UnknownFormatError where none fits, FormatError where two do or the file is damaged.
    """
    if name is not None:
        return _named(name, source).reader().read(source, limits)
    if source.size == 0:
        raise UnknownFormatError(
            f"{source.name}: is empty (0 bytes), so it holds no checkpoint; fetch or save it again"
        )
    head = source.read_at(0, min(_HEAD, source.size))
    claims = [entry for entry in FORMATS if entry.reader().sniff(head, source)]
    if len(claims) > 1:
        suffix = source.name[source.name.rfind(".") :].lower()
        claims = [entry for entry in claims if suffix in entry.suffixes] or claims
    if len(claims) > 1:
        names = " and ".join(f'"{entry.name}"' for entry in claims)
        raise FormatError(f"{source.name}: could be {names}; say which with `format=`")
    if not claims:
        raise _unknown(source, head)
    return claims[0].reader().read(source, limits)


def _named(name: str, source: Source) -> Format:
    for entry in FORMATS:
        if entry.name == name:
            return entry
    names = ", ".join(f'"{entry.name}"' for entry in FORMATS)
    raise UnknownFormatError(f"{source.name}: there is no format `{name}`; expected one of {names}")


def _unknown(source: Source, head: bytes) -> UnknownFormatError:
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
