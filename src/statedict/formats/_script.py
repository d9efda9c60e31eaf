"""What the text of TorchScript's classes declares: parameters, buffers, constants. It is read by line, never run.

A class is `class NAME(Module):` followed by indented lines: `__parameters__ = ["weight", ]`, `__buffers__ = []`, one
`NAME : TYPE` for each attribute, `NAME : Final[TYPE] = VALUE` for those that never change, and then its methods.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from statedict.errors import LimitError
from statedict.limits import Limits
from statedict.narrow import is_list
from statedict.opaque import Opaque
from statedict.source import Source

_CLASS = re.compile(r"^class (\w+)(?:\((\w*)\))?:$", re.MULTILINE)
_LINE = re.compile(r"^  (?:(__parameters__|__buffers__)|(\w+) : Final\[.*?\]) = (.*)$", re.MULTILINE)
_METHOD = re.compile(r"^  def ", re.MULTILINE)
_LONGEST_VALUE = 1 << 16


class Declared(NamedTuple):
    """What a class's text says of its instances."""

    is_module: bool
    parameters: frozenset[str]
    buffers: frozenset[str]
    constants: Mapping[str, Any]
    """The attributes that are the same in all instances, which the pickle leaves out."""


def declarations(member: Source, where: str, limits: Limits) -> dict[str, Declared]:
    """What one file of code declares, by the name of the class. Raises LimitError where it is too large to be code."""
    if member.size > limits.header_bytes:
        raise LimitError(f"{where}: has {member.size:,} bytes; `Limits.header_bytes` allows {limits.header_bytes:,}")
    text = member.read_at(0, member.size).decode("utf-8", "replace")
    found: dict[str, Declared] = {}
    for start in _CLASS.finditer(text):
        following = _CLASS.search(text, start.end())
        found[start[1]] = _class(start[2], text[start.end() : following.start() if following else None])
    return found


def _class(base: str | None, body: str) -> Declared:
    methods = _METHOD.search(body)
    listed: dict[str, frozenset[str]] = {}
    constants: dict[str, Any] = {}
    for register, name, written in _LINE.findall(body[: methods.start() if methods else None]):
        value = _literal(written)
        if name:
            constants[name] = value
        elif is_list(value):
            listed[register] = frozenset(filter(lambda each: isinstance(each, str), value))
    empty = frozenset[str]()
    return Declared(base == "Module", listed.get("__parameters__", empty), listed.get("__buffers__", empty), constants)


def _literal(written: str) -> Any:
    """The value of a literal; of anything else, and of one too long to be honest, a description that holds its text."""
    if len(written) <= _LONGEST_VALUE:
        try:
            return ast.literal_eval(written)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            pass
    return Opaque(written[:100])
