"""Facts as JSON documents: strict JSON in ASCII, whatever names and values a file brings."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from statedict.dtypes import DType
from statedict.index import EMPTY, TensorInfo, contiguous
from statedict.narrow import is_dict, is_list, is_set, is_tuple
from statedict.opaque import Opaque
from statedict.ops.select import NamedTensor
from statedict.source import Source
from statedict.tree.tensor import Tensor
from statedict.views.outline import Node
from statedict.views.values import value_text

SCHEMAS: Mapping[str, int] = {
    "tree": 1,
    "memory": 1,
    "ls": 1,
    "stats": 1,
    "check": 1,
    "hash": 1,
    "verify": 1,
    "diff": 1,
    "match": 1,
    "show-tensor": 1,
    "show-module": 1,
    "show-value": 1,
    "shrink": 1,
    "extract-lora": 1,
    "formats": 1,
    "plan": 1,
    "catalog-add": 1,
    "catalog-duplicates": 1,
    "catalog-lineage": 1,
    "catalog-rows": 1,
}
"""Each kind of document, and the version of its schema, which is `schemas/KIND-VERSION.json`. A field more is no new
version; one that is gone, or means something else, is."""
_MOST_VALUES = 1_000_000
_MOST_ROW_VALUES = 10_000
_DEEPEST = 100

_encode = json.JSONEncoder(allow_nan=False, check_circular=False).encode


def schema(kind: str) -> str:
    """What a document of that kind has as its first field, `schema`: the `$id` of the JSON Schema that describes it."""
    return f"urn:statedict:{kind}:{SCHEMAS[kind]}"


def document(**fields: Any) -> str:
    """`fields` as one JSON object on lines of its own, indented. Values are plain ones, as `plain` returns them."""
    return json.dumps(fields, allow_nan=False, indent=2) + "\n"


def rows_document(head: Mapping[str, Any], name: str, rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """One JSON object: the fields of `head`, then the list `name` of `rows`, each on a line of its own."""
    yield "{" + "".join(f"{_encode(key)}: {_encode(value)}, " for key, value in head.items()) + f"{_encode(name)}: ["
    before = "\n"
    for row in rows:
        yield f"{before}  {_encode(row)}"
        before = ",\n"
    yield "\n]}\n" if before != "\n" else "]}\n"


def module_rows(node: Node, depth: int | None = None) -> Iterator[dict[str, Any]]:
    """What is known of each module of an unfolded outline, parents first, `depth` levels deep (None: all).

    `parameters` and `nbytes` are of all that is in it, `tensors` the names of those that it holds itself.
    """
    total = node.sizes()
    fields: dict[str, Any] = {"name": node.path, "parameters": total.parameters, "nbytes": total.nbytes}
    if node.kind:
        fields["kind"] = node.kind.removesuffix("?")
        if node.kind.endswith("?"):
            fields["inferred"] = True
    if node.same_as is not None:
        fields["same_as"] = node.same_as
    own = [entry.name for entry in node.inline]
    fields["tensors"] = own + [child.path for child in node.children if child.is_tensor]
    if values := {name: plain(value, _MOST_ROW_VALUES) for name, value in node.values}:
        fields["values"] = values
    yield fields
    if depth is None or depth > 0:
        for child in node.children:
            if not child.is_tensor:
                yield from module_rows(child, None if depth is None else depth - 1)


def tensor_fields(
    entry: NamedTensor, first_names: Mapping[int, str], source: Source, optimized: Mapping[str, str] = EMPTY
) -> dict[str, Any]:
    """What is known of one tensor. `offset` is its first byte in `source`, absent where it lies packed there.

    `optimized` names the parameters that an optimizer's tensors belong to.
    """
    name, tensor, owner, role = entry
    info = tensor.info
    fields: dict[str, Any] = {
        "name": name,
        "dtype": info.dtype.name,
        "shape": info.shape,
        "stride": info.stride or (None if info.shape is None else contiguous(info.shape)),
        "numel": info.numel,
        "nbytes": info.nbytes,
        "role": role,
        "requires_grad": tensor.requires_grad,
    }
    if owner.kind is not None:
        fields["kind"] = owner.kind
        if owner.inferred:
            fields["inferred"] = True
    if info.device != "cpu":
        fields["device"] = info.device
    if info.encoding.layout != "strided":
        fields["layout"] = info.encoding.layout
    if info.extent is not None:
        outer, offset = info.extent.source.located(info.extent.offset)
        if outer is source:
            fields["offset"] = offset
    if name in optimized:
        fields["of"] = optimized[name]
    first = first_names[id(tensor)]
    if first != name:
        fields["tied_to"] = first
    return fields


def plain(value: Any, most: int = _MOST_VALUES) -> Any:
    """`value` as what JSON has. NaN and infinities are texts, as are dict keys; what was not built names its class.

    Of more than `most` values the rest is left out: a few bytes of a pickle can describe lists that would fill a disk.
    """
    return _Plain(most).of(value, 0)


class _Plain:
    """One conversion, which ends however often a value holds itself."""

    def __init__(self, most: int) -> None:
        self._left = most

    def of(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if depth > _DEEPEST or self._left < 0:
            return "…"
        if isinstance(value, Tensor | TensorInfo):
            return {"tensor": {"dtype": value.dtype.name, "shape": value.shape}}
        if is_dict(value):
            return self._mapping(value, depth)
        if is_list(value) or is_tuple(value) or is_set(value):
            return [self.of(held, depth + 1) for held in value]
        if isinstance(value, Opaque):
            return self._opaque(value, depth)
        if isinstance(value, bytes | bytearray):
            return {"bytes": value.hex()}
        return value.name if isinstance(value, DType) else str(value)

    def _mapping(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        return {
            key if isinstance(key, str) else value_text(key, 200): self.of(held, depth + 1)
            for key, held in value.items()
        }

    def _opaque(self, value: Opaque, depth: int) -> dict[str, Any]:
        fields: dict[str, Any] = {"class": value.name}
        given = {"args": value.args, "kwargs": value.kwargs, "attributes": value.attributes, "items": value.items}
        return fields | {name: self.of(held, depth + 1) for name, held in given.items() if held}
