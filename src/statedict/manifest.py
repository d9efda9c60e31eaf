"""Manifests: the digests of a checkpoint in a file of its own, to be compared with another day's, or another copy's."""

import json
import os
from typing import Any

from statedict import writing
from statedict.errors import FormatError
from statedict.limits import DEFAULT_LIMITS
from statedict.narrow import is_dict, is_list
from statedict.ops.digests import ALGORITHMS
from statedict.ops.fingerprint import Fingerprint, Print
from statedict.plan import Plan
from statedict.remote.places import place_of
from statedict.source import Source, source_of

_VERSION = 1
_MARK = "statedict_manifest"


def write_manifest(fingerprint: Fingerprint, path: str | os.PathLike[str]) -> None:
    """Write digests, element types and shapes as JSON, a line for each tensor; the file is replaced all at once.

    Raises WriteError (an OSError) where writing fails.
    """
    head = {_MARK: _VERSION, "algorithm": fingerprint.algorithm, "model": fingerprint.model}
    rows = ",\n".join(f"  {json.dumps(each.fields())}" for each in fingerprint.prints)
    text = f'{json.dumps(head)[:-1]}, "tensors": [\n{rows}\n]}}\n'
    writing.write_file(Plan((text.encode(),)), place_of(path))


def read_manifest(path: str | os.PathLike[str]) -> Fingerprint:
    """The digests that `write_manifest` wrote.

    Raises FormatError (a ValueError) where a file is no manifest or its own digest does not fit it, ReadError (an
    OSError) where it cannot be read.
    """
    source = source_of(path)
    held = _parsed(source)
    if not is_dict(held) or _MARK not in held:
        raise FormatError(f"{source.name}: is no manifest; `statedict hash SRC --manifest FILE` writes one")
    if held[_MARK] != _VERSION:
        raise FormatError(f"{source.name}: is a manifest of another version than {_VERSION}; update statedict")
    algorithm, rows = held.get("algorithm"), held.get("tensors")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or not is_list(rows):
        raise FormatError(f"{source.name}: names no known hash, or no tensors; expected one of {', '.join(ALGORITHMS)}")
    found = Fingerprint(algorithm, tuple(_print(source.name, row) for row in rows))
    if found.model != held.get("model"):
        raise FormatError(f"{source.name}: has been changed: its lines do not give the digest that it has for them all")
    return found


def _parsed(source: Source) -> Any:
    """What a file of JSON holds; None where it is none, or larger than any manifest."""
    if source.size > DEFAULT_LIMITS.header_bytes or source.head(1) != b"{":
        return None
    try:
        return json.loads(source.read_at(0, source.size))
    except (ValueError, RecursionError):
        return None


def _print(file: str, row: Any) -> Print:
    """One line of a manifest. Raises FormatError where it is none."""
    held: dict[Any, Any] = row if is_dict(row) else {}
    name, dtype, shape, digest = (held.get(key) for key in ("name", "dtype", "shape", "digest"))
    sizes = tuple(shape) if is_list(shape) else None
    plain = isinstance(name, str) and isinstance(dtype, str) and isinstance(digest, str | None)
    if not plain or not all(type(size) is int for size in sizes or ()):
        raise FormatError(f"{file}: a line of it is no tensor: {json.dumps(row)[:80]}; write the manifest anew")
    return Print(str(name), str(dtype), sizes, digest, str(held.get("reason", "")))
