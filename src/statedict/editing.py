"""Edits as the command line and files of rules name them, one after the other: `("rename", "module.**=**")`."""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from statedict import opening
from statedict.dtypes import EXAMPLES, DType
from statedict.dtypes import dtype as dtype_of
from statedict.errors import FormatError, PatternError, ReadError, StatedictError
from statedict.expressions.rounding import Overflow
from statedict.narrow import is_dict, is_list
from statedict.ops.apart import with_metadata
from statedict.ops.cast import cast
from statedict.ops.drop import drop, keep
from statedict.ops.graft import graft
from statedict.ops.making import MakeRule, make, rule_of
from statedict.ops.rename import rename
from statedict.ops.slicing import sliced
from statedict.remote.urls import is_url
from statedict.tree.module import Module

Edit = tuple[str, Any]
"""What to do, a key of `EDITS`, and with what: a text, or a rule of `make`."""


def edited(model: Module, edits: Iterable[Edit], overflow: Overflow = "torch") -> Module:
    """The tree after these edits, in their order; renames that follow one another are checked together.

    Raises PatternError for what is malformed or fits nothing, StatedictError where an edit cannot be, and as `open`
    does for checkpoints that tensors are taken from.
    """
    for name, group in groupby(edits, key=lambda edit: edit[0]):
        values = [value for _, value in group]
        if name == "cast":
            for value in values:
                model = cast(model, _types(value), overflow)
        else:
            model = EDITS[name](model, values)
    return model


def _types(value: str) -> DType | dict[str, DType]:
    """`PATTERN=DTYPE`, or an element type for all floating point tensors."""
    pattern, sign, dtype = value.rpartition("=")
    return {pattern: type_named(dtype)} if sign else type_named(dtype)


def type_named(name: str) -> DType:
    """The element type of that name. Raises StatedictError where there is none."""
    try:
        return dtype_of(name)
    except ValueError:
        raise StatedictError(f"`{name}` is no element type; expected one such as {EXAMPLES}") from None


def _sliced(model: Module, rules: Sequence[str]) -> Module:
    for rule in rules:
        model = sliced(model, rule)
    return model


def _added(model: Module, files: Sequence[str]) -> Module:
    for text in files:
        file, pattern = _file_and_pattern(text)
        model = graft(model, opening.open(file), *([pattern] if pattern else []))
    return model


def _file_and_pattern(text: str) -> tuple[str, str]:
    """`FILE` or `FILE:PATTERN`; what is there as a whole is a file."""
    file, sign, pattern = text.rpartition(":")
    whole = is_url(text) and (not is_url(file) or "/" in pattern)
    return (text, "") if whole or not sign or (not is_url(text) and Path(text).exists()) else (file, pattern)


def _described(model: Module, pairs: Sequence[str]) -> Module:
    metadata: dict[str, Any] = dict(model.metadata)
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise PatternError(f"`{pair}` is no metadata; expected KEY=VALUE")
        metadata[key] = value
    return with_metadata(model, metadata)


EDITS: Mapping[str, Callable[[Module, Sequence[Any]], Module]] = {
    "rename": lambda model, rules: rename(model, *rules),
    "drop": lambda model, patterns: drop(model, *patterns),
    "keep": lambda model, patterns: keep(model, *patterns),
    "cast": lambda model, types: edited(model, [("cast", each) for each in types]),
    "slice": _sliced,
    "add": _added,
    "set-metadata": _described,
    "make": make,
}
"""What each edit does with its values, of which there are several where one follows the other."""


def edits_of(path: str) -> list[Edit]:
    """The edits that a TOML file lists: under the name of each, texts, or tables of `from` and `to`.

    They are done in the order of the file. Raises ReadError, and FormatError where it is no such file.
    """
    try:
        with Path(path).open("rb") as file:
            described = tomllib.load(file)
    except OSError as error:
        raise ReadError(f"{path}: cannot be opened: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise FormatError(f"{path}: is no TOML: {error}") from None
    return [(name, value) for name, values in described.items() for value in _values(path, name, values)]


def _values(path: str, name: str, values: Any) -> list[Any]:
    if name not in EDITS:
        raise FormatError(f"{path}: there is no edit `{name}`; expected some of {', '.join(EDITS)}")
    rows = values if is_list(values) else [values]
    return [_value(path, name, row) for row in rows]


def _value(path: str, name: str, row: Any) -> Any:
    if name == "make":
        return _rule(path, row)
    if is_dict(row) and row.keys() == {"from", "to"}:
        return f"{row['from']}={row['to']}"
    if not isinstance(row, str):
        raise FormatError(f"{path}: `{name}` holds `{row}`; expected texts, or tables of `from` and `to`")
    return row


def _rule(path: str, row: Any) -> MakeRule:
    try:
        return rule_of(row)
    except PatternError as error:
        raise PatternError(f"{path}: {error}") from None
