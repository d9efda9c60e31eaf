"""What the catalogue keeps of one checkpoint: found by whoever opens it, in this process or on a worker, in columns."""

import gc
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from statedict import collector, formats
from statedict.catalog.finding import Place
from statedict.errors import StatedictError
from statedict.expressions.nodes import is_contiguous, run
from statedict.index import Index, ModuleInfo, TensorInfo
from statedict.limits import DEFAULT_LIMITS
from statedict.narrow import is_dict, is_list, is_tuple
from statedict.opaque import Opaque
from statedict.ops.check.code.names import verdict
from statedict.ops.fingerprint import fingerprint
from statedict.ops.select import named_tensors
from statedict.remote.urls import is_url, shown_url
from statedict.source import Folder, source_of
from statedict.tree import reading
from statedict.tree.build import build

_SAMPLES = 64
"""Elements that are kept to tell tensors that are close, and how close."""
_STRIDE = 16
_BASES = ("base_model_name_or_path", "_name_or_path", "base_model", "merge_base")
_DEEPEST = 20
_OPEN = 100
"""Checkpoints whose files are open at a time."""


class Described(NamedTuple):
    """Rows of the catalogue's tables, of some checkpoints; those of tensors begin with a checkpoint's position."""

    checkpoints: list[tuple[Any, ...]]
    tensors: list[tuple[Any, ...]]
    dangers: list[tuple[int, str, str]]
    """What each names that is not known to be harmless, and its grade."""


def describe(places: Sequence[Place], *, prints: bool) -> Described:
    """What is to be kept of some checkpoints. One that cannot be read is kept with its error."""
    described = Described([], [], [])
    with collector.from_here():
        for position, place in enumerate(places):
            try:
                _add(described, position, place, prints=prints)
            except (StatedictError, OSError) as error:
                _undo(described, position)
                described.checkpoints.append(_row(place, error=str(error)))
            if position % _OPEN == _OPEN - 1:
                gc.collect()  # trees point up and down: until then their files are open
    return described


def _undo(described: Described, position: int) -> None:
    described.tensors[:] = [row for row in described.tensors if row[0] != position]
    described.dangers[:] = [row for row in described.dangers if row[0] != position]


def _add(described: Described, position: int, place: Place, *, prints: bool) -> None:
    index = formats.read(source_of(place.path), DEFAULT_LIMITS)
    model = build(index)
    digests = fingerprint(model, threads=1).tensors if prints else {}
    signature = hashlib.blake2b(digest_size=8)
    parameters = nbytes = tensors = 0
    seen: set[int] = set()
    for entry in named_tensors(model):
        info, name = entry.info, entry.name
        shape = list(info.shape or ())
        signature.update(f"{name}{shape}".encode("utf-8", "surrogatepass"))
        if id(entry.tensor) not in seen:
            seen.add(id(entry.tensor))
            tensors += 1
            nbytes += info.nbytes
            parameters += info.numel if entry.role == "parameter" else 0
        described.tensors.append(
            (
                *(position, name, info.dtype.name, shape, info.numel, info.nbytes, entry.role, entry.owner.kind),
                *(digests.get(name), *(_sketch(info) if prints else (None, None))),
            )
        )
    described.dangers.extend((position, *each) for each in _dangers(index))
    family = int.from_bytes(signature.digest(), "little") >> 1
    described.checkpoints.append(
        _row(place, index, tensors, parameters, nbytes, family, printed=prints, config=_config(index))
    )


def _row(
    place: Place,
    index: Index | None = None,
    tensors: int = 0,
    parameters: int = 0,
    nbytes: int = 0,
    family: int = 0,
    *,
    printed: bool = False,
    config: Mapping[str, Any] | None = None,
    error: str | None = None,
) -> tuple[Any, ...]:
    path = shown_url(place.path) if is_url(place.path) else place.path
    metadata = None if index is None else _text(index.metadata)
    base = next((str(config[key]) for key in _BASES if config and config.get(key)), None)
    kind = None if not config else ", ".join(map(str, config.get("architectures") or ())) or config.get("model_type")
    return (
        *(path, place.version or _version(index), place.modified, index.format if index else None),
        *(tensors, parameters, nbytes, family, printed, kind, base),
        *(_text(config) if config else None, metadata, error),
    )


def _version(index: Index | None) -> str:
    """What tells the state of a remote checkpoint: the versions of its files."""
    if index is None or isinstance(index.source, Folder):
        files = {} if index is None else {id(e.source): e.source for i in index.tensors.values() if (e := i.extent)}
        said = sorted(str(source.identity()) for source in files.values())
        return hashlib.blake2b("\n".join(said).encode(), digest_size=8).hexdigest() if said else ""
    return str(getattr(index.source, "version", index.source.size))


def _config(index: Index) -> Mapping[str, Any]:
    """The configuration of the model, and of the adapter that it may be."""
    attributes = index.modules.get("", ModuleInfo()).attributes
    found = (attributes.get(name) for name in ("peft_config", "config"))
    return {key: value for each in found if is_dict(each) for key, value in each.items()}


def _text(value: Mapping[str, Any]) -> str | None:
    """As JSON; what JSON does not have as its text."""
    return json.dumps(dict(value), default=str, ensure_ascii=True)[: 1 << 16] if value else None


def _dangers(index: Index) -> Iterator[tuple[str, str]]:
    """Yield what loading the file with pickle would import that is not known to be safe, with the grade of `check`."""
    names: set[str] = set()
    for info in index.modules.values():
        if info.class_name is not None:
            names.add(info.class_name)
        names |= {each.name for each in _opaque(dict(info.attributes), 0)}
    for name in sorted(names):
        module, _, last = name.rpartition(".")
        if (grade := verdict(module, last).grade) != "safe":
            yield name, grade


def _opaque(value: Any, depth: int) -> Iterator[Opaque]:
    if depth > _DEEPEST:
        return
    held: list[Any] = []
    if isinstance(value, Opaque):
        yield value
        held = [value.args, dict(value.kwargs), value.state, value.items]
    elif is_dict(value):
        held = [*value.keys(), *value.values()]
    elif is_list(value) or is_tuple(value):
        held = list(value)
    for each in held:
        yield from _opaque(each, depth + 1)


def _sketch(info: TensorInfo) -> tuple[int, list[float]] | tuple[None, None]:
    """64 elements from the middle of a tensor of numbers, and as bits which of them are above their median.

    Tensors that were trained on from one another share nearly all bits, others half. None where there are too few.
    """
    import numpy as np

    if info.extent is None or info.numel < _SAMPLES or not info.dtype.is_floating_point or info.dtype.bits < 8:
        return None, None
    if info.encoding.parts or info.dtype.block_bytes or not is_contiguous(info):
        return None, None
    stride = min(_STRIDE, info.numel // _SAMPLES)
    start = (info.numel - _SAMPLES * stride) // 2
    values = reading.read(run(info, start, start + _SAMPLES * stride))[::stride].astype("f4")
    ordered: list[float] = np.sort(values).tolist()  # NaN last
    if not (math.isfinite(ordered[0]) and math.isfinite(ordered[-1])) or ordered[0] == ordered[-1]:
        return None, None
    median = (ordered[_SAMPLES // 2 - 1] + ordered[_SAMPLES // 2]) / 2
    bits = int.from_bytes(np.packbits(values > median).tobytes(), "little")
    return bits, values.tolist()
