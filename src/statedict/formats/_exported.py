"""The JSON in torch.export's archives: a graph's signature, the classes of its modules, one tensor's description.

The names are those of `torch/_export/serde/schema.py`, whose `ScalarType` and `Layout` are numbers.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple, Self

from statedict.dtypes import DTYPES
from statedict.errors import FormatError, LimitError
from statedict.formats._stored import Storage, StoredTensor, integers
from statedict.index import contiguous, shown, span
from statedict.limits import Limits
from statedict.narrow import is_dict, is_list
from statedict.source import Extent, Source

_SCALAR_TYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    9: "complex32",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
    31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz",
    33: "float8_e8m0fnu",
    34: "uint32",
    35: "uint64",
}
_STRIDED = 7
_FACTS = ("torch_version", "schema_version", "opset_version")


def object_of(member: Source, where: str, limits: Limits) -> dict[str, Any]:
    """The JSON object that a member holds. Raises FormatError where it holds none, LimitError where it is too large."""
    if member.size > limits.header_bytes:
        raise LimitError(f"{where}: has {member.size:,} bytes; `Limits.header_bytes` allows {limits.header_bytes:,}")
    try:
        value = json.loads(member.read_at(0, member.size))
    except (ValueError, RecursionError):
        value = None
    if not is_dict(value):
        raise FormatError(f"{where}: is no JSON object; the file is damaged")
    return value


def raw_tensor(member: Source, meta: Any, where: str, storages: dict[Any, Storage]) -> StoredTensor:
    """The tensor whose storage is a member's bytes, as its `TensorMeta` says; `storages` are those made so far.

    Raises FormatError where the description is wrong.
    """
    meta = meta if is_dict(meta) else {}
    name = _SCALAR_TYPES.get(_whole(meta.get("dtype")))
    try:
        shape = integers(tuple(map(_size, meta["sizes"])))
        stride = integers(tuple(map(_size, meta["strides"])))
        offset = _size(meta["storage_offset"])
    except (KeyError, TypeError):
        name, shape, stride, offset = None, (), (), 0
    if name is None or len(shape) != len(stride) or min((*shape, *stride, offset), default=0) < 0:
        raise FormatError(f"{where} needs dtype, sizes, strides and storage_offset, but has {shown(str(meta))}")
    if meta.get("layout", _STRIDED) != _STRIDED:
        raise FormatError(f"{where} has the layout {shown(str(meta['layout']))}; only strided tensors can be read")
    dtype = DTYPES[name]
    numel = member.size // dtype.itemsize
    if 0 not in shape and offset + span(shape, stride) > numel:
        raise FormatError(
            f"{where} reaches to element {offset + span(shape, stride):,} of {member.name}, which has {numel:,}; "
            "the file is damaged"
        )
    if 0 in shape:
        stride, offset = contiguous(shape) if min(stride) < 0 else stride, 0
    device = _device(meta.get("device"))
    made = Storage(dtype, numel, device, Extent(member, 0, numel * dtype.itemsize))
    storage = storages.setdefault((member, dtype, device), made)
    return StoredTensor(storage, offset, shape, stride, dtype, meta.get("requires_grad") is True)


def _whole(value: Any) -> int:
    return value if type(value) is int else -1


def _size(value: Any) -> int:
    """A `SymInt` of a tensor that was saved, which is a number: `{"as_int": 3}`. Raises TypeError otherwise."""
    found = value["as_int"]
    if type(found) is not int:
        raise TypeError("not a number")
    return found


def _device(value: Any) -> str:
    if not is_dict(value) or not isinstance(value.get("type"), str):
        return "cpu"
    index = value.get("index")
    return value["type"] if index is None or value["type"] == "cpu" else f"{value['type']}:{index}"


class Signature(NamedTuple):
    """The full names of a program's parameters and buffers, and of those buffers that a state dict leaves out."""

    parameters: frozenset[str]
    buffers: frozenset[str]
    non_persistent: frozenset[str]

    @classmethod
    def of(cls, graph: Mapping[str, Any]) -> Self:
        """The signature that the graph's JSON holds; an empty one where it holds none."""
        specs = _at(graph, "graph_module", "signature", "input_specs")
        found: dict[str, list[Any]] = {"parameter": [], "buffer": []}
        passing: list[Any] = []
        for spec in specs if is_list(specs) else ():
            for kind, names in found.items():
                entry = _at(spec, kind)
                if is_dict(entry) and isinstance(entry.get(f"{kind}_name"), str):
                    names.append(entry[f"{kind}_name"])
                    if entry.get("persistent") is False:
                        passing.append(entry[f"{kind}_name"])
        return cls(frozenset(found["parameter"]), frozenset(found["buffer"]), frozenset(passing))

    def with_roles(self, roles: Mapping[str, bool]) -> Self:
        """This signature with the weights that it leaves out, for the graph does not use them: True for a parameter."""
        parameters = self.parameters | {name for name, is_parameter in roles.items() if is_parameter}
        buffers = (self.buffers | {name for name, is_parameter in roles.items() if not is_parameter}) - parameters
        return self._replace(parameters=parameters, buffers=buffers)


class Program:
    """One exported program: what it holds, and what its graph tells of the modules that it was made of."""

    def __init__(self, signature: Signature, tensors: dict[str, StoredTensor], graph: Mapping[str, Any]) -> None:
        self.signature = signature
        self.tensors = tensors
        self._graph = graph

    @property
    def facts(self) -> dict[str, Any]:
        """What the graph's JSON says of itself: versions."""
        return {name: self._graph[name] for name in _FACTS if name in self._graph}

    @cached_property
    def classes(self) -> dict[str, str | None]:
        """The names of all modules, in order, and the class of each that the graph's nodes were traced in."""
        calls = _at(self._graph, "graph_module", "module_call_graph")
        names = [_at(call, "fqn") for call in calls] if is_list(calls) else []
        found: dict[str, str | None] = {name: None for name in names if isinstance(name, str) and "@" not in name}
        nodes = _at(self._graph, "graph_module", "graph", "nodes")
        stacks = [_at(node, "metadata", "nn_module_stack") for node in nodes] if is_list(nodes) else []
        for stack in {stack for stack in stacks if isinstance(stack, str)}:
            for entry in stack.split(";"):
                _, _, rest = entry.partition(",")
                path, _, class_name = rest.rpartition(",")
                if path in found:
                    found[path] = class_name or None
        return found


def _at(value: Any, *path: str) -> Any:
    """What stands in a JSON value under these keys; None where something else stands on the way."""
    for key in path:
        value = value.get(key) if is_dict(value) else None
    return value
