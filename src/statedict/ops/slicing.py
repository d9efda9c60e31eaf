"""Slices of tensors by name, as the command line has them: `layers.0.weight=[0:16, :]`."""

import re
from typing import Any

from statedict import collector
from statedict.errors import PatternError, StatedictError
from statedict.index import TensorInfo
from statedict.ops.apart import changed
from statedict.ops.patterns import matching
from statedict.tree.flat import flatten
from statedict.tree.indexing import view
from statedict.tree.module import Module

_RULE = re.compile(r"(.+)=\[([^\[\]]*)\]", re.DOTALL)
_NUMBER = r"\s*([+-]?\d{1,18})?\s*"
_PLACE = re.compile(rf"{_NUMBER}(?:(:){_NUMBER}(?::{_NUMBER})?)?", re.ASCII)


@collector.paused()
def sliced(model: Module, rule: str) -> Module:
    """A tree in which the tensors that `PATTERN=[...]` names are slices of what they were, as `Tensor.__getitem__`'s.

    Raises PatternError where the rule is malformed or fits no tensor, StatedictError where a tensor has no such slice.
    """
    pattern, index = parse_slice(rule)
    flat = flatten(model)
    found = matching(list(flat.tensors), [pattern], flat.modules.keys)
    return changed(model, dict.fromkeys(found, index), _view)


def parse_slice(rule: str) -> tuple[str, tuple[Any, ...]]:
    """The pattern of `PATTERN=[0:16, :, 3, ...]`, and the index. Raises PatternError."""
    found = _RULE.fullmatch(rule)
    if found is None:
        raise PatternError(f"`{rule}` is no slice; expected PATTERN=[...], such as `fc.weight=[0:16, :]`")
    return found[1], tuple(_place(rule, text) for text in found[2].split(","))


def _place(rule: str, text: str) -> Any:
    if text.strip() == "...":
        return ...
    found = _PLACE.fullmatch(text)
    if found is None or not text.strip():
        raise PatternError(
            f"`{rule}`: `{text.strip()}` is no index; expected a number, `a:b`, `a:b:step`, `:` or `...`"
        )
    first, colon, last, step = found.groups()
    start, stop, by = (None if each is None else int(each) for each in (first, last, step))
    return slice(start, stop, by) if colon else start


def _view(info: TensorInfo, index: tuple[Any, ...]) -> TensorInfo:
    try:
        return view(info, index)
    except (IndexError, ValueError, TypeError) as error:
        raise StatedictError(f"tensor `{info.name}` of the shape {info.shape}: {error}") from None
