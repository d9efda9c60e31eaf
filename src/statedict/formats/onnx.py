"""ONNX: a `ModelProto` with a graph of nodes, in Protocol Buffers' format (onnx.proto, IR versions 1 to 13).

Initializers are parameters, under their own names. Tensors that are attributes of nodes are buffers: that of a
`Constant` under the name of the node's output, any other under the node's name and the attribute's. What a sub-graph
holds comes under the node and attribute that the graph is; what a function holds under the function's full name. Nodes
are not listed for themselves: the graph says how values flow, which is no hierarchy of modules.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

from statedict.errors import FormatError
from statedict.formats._onnx_tensor import DATA_TYPES, STRING, Files, SparseTensorProto, TensorProto, entry
from statedict.formats._protobuf import BYTES, VARINT, Field, Message, message
from statedict.index import Index, ModuleInfo, TensorInfo, shown
from statedict.limits import DEFAULT_LIMITS, Limits
from statedict.opaque import Opaque
from statedict.source import Source

_IR_VERSION, _GRAPH, _FUNCTIONS = 1, 7, 25
_KNOWN = {1: VARINT, 5: VARINT} | dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), BYTES)
"""The wire types of a `ModelProto`'s fields."""
_TEXTS = {2: "producer_name", 3: "producer_version", 4: "domain", 6: "doc_string"}
_NUMBERS = {1: "ir_version", 5: "model_version"}
_MOST_FIELDS_BEFORE = 64
_T, _G, _TENSORS, _GRAPHS, _SPARSE, _SPARSES = 5, 6, 10, 11, 22, 23
_HOLDERS = frozenset((_T, _G, _TENSORS, _GRAPHS, _SPARSE, _SPARSES))
"""The fields of an `AttributeProto` in which tensors are."""


def sniff(head: bytes, source: Source) -> bool:
    """Whether the file begins with the fields of a `ModelProto`, of which one is a graph or a function."""
    if head[:1] != b"\x08":
        return False
    endless = message(source, DEFAULT_LIMITS, 0, 1 << 64)  # a truncated file is one too
    try:
        for _, field in zip(range(_MOST_FIELDS_BEFORE), endless, strict=False):
            if _KNOWN.get(field.number) != field.wire:
                return False
            if field.number in (_GRAPH, _FUNCTIONS):
                return True
    except FormatError:
        pass
    return False


def read(source: Source, limits: Limits) -> Index:
    """The index of an ONNX model. Raises FormatError where it is damaged, ReadError for a missing file beside it."""
    return _Reader(source, limits).index()


class _Reader:
    """What was found so far, by full name."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._files = Files(source)
        self._initializers: dict[str, TensorInfo] = {}
        self._constants: dict[str, TensorInfo] = {}
        self._texts: set[str] = set()
        """Tensors of text, which are kept as attributes."""
        self._again: dict[str, int] = {}
        self._kinds: dict[str, str] = {}
        self._attributes: dict[str, dict[str, Any]] = {"": {}}

    def index(self) -> Index:
        self._model(message(self._source, self._limits))
        tensors = {**self._initializers, **self._constants}
        return Index("onnx", self._source, tensors, self._modules()).validate(self._limits)

    def _modules(self) -> dict[str, ModuleInfo]:
        """The modules that hold something, with the roles of their tensors."""
        roles: dict[str, tuple[list[str], list[str]]] = {"": ([], [])}
        for role, tensors in enumerate((self._initializers, self._constants)):
            for name in tensors:
                module, _, local = name.rpartition(".")
                roles.setdefault(module, ([], []))[role].append(local)
        names = sorted((*self._initializers, *self._constants, *self._texts))

        def holds(module: str) -> bool:
            first = bisect_left(names, module + ".")
            return first < len(names) and names[first].startswith(module + ".")

        told = (name for name in (*self._kinds, *self._attributes) if holds(name))
        modules: dict[str, ModuleInfo] = {}
        for name in dict.fromkeys((*roles, *told)):
            parameters, buffers = roles.get(name, ((), ()))
            modules[name] = ModuleInfo(
                kind=self._kinds.get(name),
                attributes=self._attributes.get(name, {}),
                parameters=tuple(parameters),
                buffers=tuple(buffers),
            )
        return modules

    # The model

    def _model(self, model: Message) -> None:
        attributes = self._attributes[""]
        opsets: dict[str, int] = {}
        properties: dict[str, str] = {}
        trainings = 0
        for field in model:
            if field.number in _TEXTS:
                attributes[_TEXTS[field.number]] = model.text(field)
            elif field.number in _NUMBERS:
                attributes[_NUMBERS[field.number]] = model.integer(field)
            elif field.number == _GRAPH:
                self._graph(model.inner(field), "")
            elif field.number == 8:
                opsets.update([_opset(model.inner(field))])
            elif field.number == 14:
                properties.update([entry(model.inner(field))])
            elif field.number == 20:
                self._training(model.inner(field), f"training_info.{trainings}.")
                trainings += 1
            elif field.number == _FUNCTIONS:
                self._function(model.inner(field))
        attributes["opset_import"] = opsets
        attributes["metadata_props"] = properties

    def _training(self, training: Message, prefix: str) -> None:
        for field in training:
            if field.number in (1, 2):
                self._graph(training.inner(field), f"{prefix}{('initialization', 'algorithm')[field.number - 1]}.")

    def _function(self, function: Message) -> None:
        texts: dict[int, list[str]] = {}
        for field in function:
            if field.number in (1, 4, 5, 10, 13):
                texts.setdefault(field.number, []).append(function.text(field))
        name, domain, overload = ("".join(texts.get(number, ())) for number in (1, 10, 13))
        path = ".".join(part for part in (domain, name, overload) if part)
        self._kinds[path] = name
        self._attributes[""].setdefault("functions", []).append(path)
        self._attributes[path] = {"inputs": texts.get(4, []), "outputs": texts.get(5, [])}
        taken: set[str] = set()
        for field in function:
            if field.number == 7:
                self._node(function.inner(field), f"{path}.", taken)

    # A graph

    def _graph(self, graph: Message, prefix: str) -> None:
        attributes = self._attributes.setdefault(prefix[:-1], {})
        inputs: dict[str, Any] = {}
        outputs: dict[str, Any] = {}
        taken: set[str] = set()
        initialized: set[str] = set()
        for field in graph:
            match field.number:
                case 1:
                    self._node(graph.inner(field), prefix, taken)
                case 2:
                    attributes["graph"] = graph.text(field)
                case 5 | 15:
                    kind = TensorProto if field.number == 5 else SparseTensorProto
                    initializer = kind(graph.inner(field))
                    initialized.add(initializer.name)
                    self._initializer(prefix + initializer.name, initializer)
                case 11:
                    inputs.update([_value(graph.inner(field))])
                case 12:
                    outputs.update([_value(graph.inner(field))])
                case _:
                    pass
        # Before IR version 4 the initializers were listed as inputs, too.
        attributes["inputs"] = {name: said for name, said in inputs.items() if name not in initialized}
        attributes["outputs"] = outputs

    def _initializer(self, name: str, proto: TensorProto | SparseTensorProto) -> None:
        if name in self._initializers:
            raise FormatError(
                f"{self._source.name}: initializer `{shown(name)}` stands in it twice; the file is damaged"
            )
        self._put(name, proto, self._initializers)

    def _put(self, name: str, proto: TensorProto | SparseTensorProto, table: dict[str, TensorInfo]) -> None:
        value = proto.value(name, self._files) if isinstance(proto, TensorProto) else proto.info(name, self._files)
        if isinstance(value, Opaque):
            module, _, local = name.rpartition(".")
            self._attributes.setdefault(module, {})[local] = value
            self._texts.add(name)
        else:
            table[name] = value

    # A node

    def _node(self, node: Message, prefix: str, taken: set[str]) -> None:
        """Find the tensors and graphs among a node's attributes. `taken` are the names of nodes before it."""
        texts: dict[int, Field] = {}
        holders: list[tuple[Message, list[Field]]] = []
        for field in node:
            if field.number in (2, 3, 4):
                texts.setdefault(field.number, field)
            elif field.number == 5:
                attribute = node.inner(field)
                held = [each for each in attribute if each.number in _HOLDERS or each.number == 1]
                if any(each.number in _HOLDERS for each in held):
                    holders.append((attribute, held))
        if not holders:
            return
        output, name, op_type = (node.text(texts[number]) if number in texts else "" for number in (2, 3, 4))
        if op_type == "Constant":
            for attribute, held in holders:
                self._constant(prefix + output, attribute, held)
            return
        path = prefix + (name if name and name not in taken else output or op_type)
        taken.add(name)
        self._kinds.setdefault(path, op_type)
        for attribute, held in holders:
            self._holder(path, attribute, held)

    def _constant(self, name: str, attribute: Message, held: list[Field]) -> None:
        for field in held:
            if field.number in (_T, _SPARSE):
                self._buffer(name, attribute, field)

    def _holder(self, path: str, attribute: Message, held: list[Field]) -> None:
        """Take the tensors and graphs of one attribute; where there is a list of them, their numbers are names."""
        name = "".join(attribute.text(field) for field in held if field.number == 1)
        for number, field in _numbered(field for field in held if field.number != 1):
            below = f"{path}.{name}" + (f".{number}" if field.number in (_TENSORS, _GRAPHS, _SPARSES) else "")
            if field.number in (_G, _GRAPHS):
                self._graph(attribute.inner(field), below + ".")
            else:
                self._buffer(below, attribute, field)

    def _buffer(self, name: str, attribute: Message, field: Field) -> None:
        path = name
        while name in self._constants or name in self._initializers:  # unique in a graph, but graphs are put together
            self._again[path] = self._again.get(path, 1) + 1
            name = f"{path}:{self._again[path]}"
        kind = TensorProto if field.number in (_T, _TENSORS) else SparseTensorProto
        self._put(name, kind(attribute.inner(field)), self._constants)


def _numbered(fields: Iterable[Field]) -> Iterator[tuple[int, Field]]:
    """Each field with how many of its number came before it."""
    before: dict[int, int] = {}
    for field in fields:
        yield before.get(field.number, 0), field
        before[field.number] = before.get(field.number, 0) + 1


def _opset(proto: Message) -> tuple[str, int]:
    """The domain and version of an `OperatorSetIdProto`."""
    domain, version = "", 0
    for field in proto:
        if field.number == 1:
            domain = proto.text(field)
        elif field.number == 2:
            version = proto.integer(field)
    return domain or "ai.onnx", version


def _value(proto: Message) -> tuple[str, Any]:
    """The name and type of a `ValueInfoProto`."""
    name, said = "", None
    for field in proto:
        if field.number == 1:
            name = proto.text(field)
        elif field.number == 2:
            said = _type(proto.inner(field))
    return name, said


_WRAPPERS = {4: "sequence", 5: "map", 9: "optional"}


def _type(proto: Message) -> dict[str, Any]:
    """A `TypeProto`: `dtype` and `shape` of a tensor; of another kind what it is of, under the name of the kind."""
    said: dict[str, Any] = {}
    for field in proto:
        if field.number == 1:
            said = _tensor_type(proto.inner(field))
        elif field.number == 8:
            said = {"sparse_tensor": _tensor_type(proto.inner(field))}
        elif field.number in _WRAPPERS:
            said = {_WRAPPERS[field.number]: _wrapped(proto.inner(field))}
    return said


def _wrapped(proto: Message) -> dict[str, Any]:
    """The type that a sequence, a map (with the type of its `key`) or an optional value is of."""
    said: dict[str, Any] = {}
    for field in proto:
        if field.wire == VARINT:
            said["key"] = _data_type(field.value)
        else:
            said.update(_type(proto.inner(field)))
    return said


def _tensor_type(proto: Message) -> dict[str, Any]:
    """`dtype`, and `shape`, in which a size is a number, or a name or None where it is not fixed; None: any rank."""
    said: dict[str, Any] = {"dtype": None, "shape": None}
    for field in proto:
        if field.number == 1:
            said["dtype"] = _data_type(proto.integer(field))
        elif field.number == 2:
            shape = proto.inner(field)
            said["shape"] = tuple(_dimension(shape.inner(each)) for each in shape if each.number == 1)
    return said


def _dimension(proto: Message) -> int | str | None:
    for field in proto:
        if field.number == 1:
            return proto.integer(field)
        if field.number == 2:
            return proto.text(field)
    return None


def _data_type(number: int) -> str | None:
    return "string" if number == STRING else DATA_TYPES.get(number)
