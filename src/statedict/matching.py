"""`match`: how one checkpoint becomes another model's, whatever form either comes in."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statedict import collector, writing
from statedict.configured import blueprint
from statedict.opening import Checkpoint, open
from statedict.ops.match import matching
from statedict.ops.match.matching import Match
from statedict.ops.match.rules_file import rules_toml
from statedict.plan import Plan
from statedict.remote.places import place_of
from statedict.remote.urls import is_url, last_part
from statedict.tree.build import build
from statedict.tree.module import Module
from statedict.tree.tensor import is_array

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from statedict.engine import Progress

_WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".msgpack", ".h5", ".npz", ".onnx"})
"""How files are called that hold weights, in a folder that may hold a configuration alone."""


@collector.paused()
def match(
    source: "Checkpoint | Module | nn.Module | Mapping[Any, Any]",
    target: "Checkpoint | Module | nn.Module | Mapping[Any, Any]",
    *,
    values: bool | None = None,
    progress: "Progress | None" = None,
) -> Match:
    """Which tensors of `source` those of `target` are, how each is made of them, and why that is believed.

    Either may be whatever `open` takes, or its result; `target` a `config.json` of Hugging Face as well, or a folder
    that holds nothing else. Names, shapes, places and kinds decide. Where both have values, these are read and prove
    it: `values=False` leaves them alone, `values=True` does so of a live model, too, whose values are otherwise taken
    to be random. Nothing is guessed: what may be one of several is in `ambiguous`.

    Raises as `open` does, and as `configured.blueprint` for a configuration.
    """
    ours, theirs = _opened(source), target_model(target)
    live = is_array(theirs, "statedict.interop.live", "LiveModule")
    return matching.match(ours, theirs, values=not live if values is None else values, progress=progress)


def target_model(target: "Checkpoint | Module | nn.Module | Mapping[Any, Any]") -> Module:
    """The tree of a target: what `open` gives, or for a configuration what would be built of it, without values."""
    if isinstance(target, str | Path) and is_configuration(target):
        return build(blueprint(str(target)))
    return _opened(target)


def is_configuration(target: str | Path) -> bool:
    """Whether it is a `config.json` or the URL of one, or a folder of this machine that holds one and no weights."""
    if is_url(target):
        return _is_called_so(last_part(str(target)))
    path = Path(target)
    if path.is_dir():
        return (path / "config.json").is_file() and not any(each.suffix in _WEIGHTS for each in path.iterdir())
    return _is_called_so(path.name) and path.is_file()


def _is_called_so(name: str) -> bool:
    return name.endswith(".json") and not name.endswith(".index.json")


def _opened(checkpoint: Any) -> Module:
    return checkpoint if isinstance(checkpoint, Module) else open(checkpoint)


def write_rules(match: Match, path: str | os.PathLike[str]) -> None:
    """Write what makes the source the target as a file of rules; it is replaced all at once.

    Raises WriteError (an OSError) where writing fails.
    """
    writing.write_file(Plan((rules_toml(match).encode("utf-8", "surrogateescape"),)), place_of(path))
