"""What lies beside the weights in a folder and belongs to the model: configuration, tokenizer, licence."""

import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from statedict import formats, writing
from statedict.dtypes import DTYPES, DType
from statedict.narrow import is_dict
from statedict.plan import Plan
from statedict.remote.places import Place
from statedict.source import Extent, Folder, Source

_CONFIG = "config.json"
_TYPES = ("torch_dtype", "dtype")
_INDEX_SUFFIX = ".index.json"


def copy_companions(source: Folder, target: Place, dtype: DType | None = None) -> list[str]:
    """Copy all files of a folder that hold no weights into another, and return their names.

    Folders in it, hidden files and other checkpoints stay. With `dtype`, what `config.json` says of the element type is
    set. Raises WriteError where a file cannot be written; what is there by that name is replaced.
    """
    names = list(_companions(source))
    for name in names:
        writing.write_file(_plan(source.sibling(name), dtype if name == _CONFIG else None), target / name)
    return names


def _companions(folder: Folder) -> Iterator[str]:
    weights = {suffix for entry in formats.FORMATS for suffix in entry.suffixes} - {".json"}
    for name in folder.names:
        hidden = name.startswith(".") or name.endswith((_INDEX_SUFFIX, "/"))
        if not hidden and PurePath(name).suffix.lower() not in weights:
            yield name


def _plan(source: Source, dtype: DType | None) -> Plan:
    if dtype is not None:
        try:
            config: Any = json.loads(source.read_at(0, source.size))
        except (ValueError, RecursionError):
            config = None  # nothing that says a type
        if is_dict(config) and with_dtype(config, dtype):
            return Plan(((json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode(),))
    return Plan((Extent(source, 0, source.size),))


def with_dtype(config: dict[Any, Any], dtype: DType) -> bool:
    """Set every element type that a configuration names, those of its parts too. Whether it names any."""
    found = False
    for key, value in config.items():
        if key in _TYPES and isinstance(value, str) and value.removeprefix("torch.") in DTYPES:
            config[key], found = dtype.name, True
        elif is_dict(value):
            found = with_dtype(value, dtype) or found
    return found
