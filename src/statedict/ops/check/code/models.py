"""What formats of models hold beside weights that is run: templates, layers of code, operators, files elsewhere."""

import json
import re
from collections.abc import Iterator
from typing import Any

from statedict.errors import FormatError
from statedict.formats import _hdf5, onnx
from statedict.formats._protobuf import BYTES, Field, Message, message
from statedict.index import shown
from statedict.limits import Limits
from statedict.opaque import Opaque
from statedict.ops.check.code import jinja, keras
from statedict.ops.check.code.act import Act
from statedict.ops.check.code.texts import Texts
from statedict.source import FileSource, Source

_TEMPLATE = b"tokenizer.chat_template"
_PIECE = 1 << 20
_MOST_TEMPLATES = 64
_STRING = 8
_DOMAINS = re.compile(
    r"|ai\.onnx(\.(ml|training|preview\.training|contrib))?|com\.microsoft(\.(nchwc|experimental|extensions))?"
    r"|com\.ms\.internal\.nhwc|org\.pytorch\.aten"
)
_PYTHON_OPERATORS = frozenset({"PyOp", "PythonOp", "PythonOpGrad", "PyCustomOp", "PyCustomOpDef"})
_TF_OPERATORS = re.compile(
    rb"\x12[\x06-\x20](ReadFile|WriteFile|MatchingFiles|PyFunc|PyFuncStateless|EagerPyFunc|LoadLibrary|DecodeRaw|"
    rb"SaveV2|Save|ShardedFilename|MergeV2Checkpoints|DeleteFile|CustomPyFunc)(?=[\x1a\x22\x2a])"
)
_HARMLESS_TF = frozenset({b"DecodeRaw", b"SaveV2", b"ShardedFilename", b"MergeV2Checkpoints", b"Save"})
_TF_LAMBDA = re.compile(rb'"class_name":\s*"Lambda"')
_LONGEST_PB = 1 << 30


def acts(source: Source, head: bytes, where: str, name: str, limits: Limits, room: Texts) -> Iterator[Act]:
    """What a model of a known format would run, or open; `head` is its first 512 bytes."""
    lower = name.lower()
    if head.startswith(b"GGUF"):
        yield from _gguf(source, where, limits, room)
    elif head.startswith(_hdf5.MAGIC):
        yield from _keras(source, where, limits)
    elif lower.endswith(".onnx") or onnx.sniff(head, source):
        yield from _Onnx(source, where, limits).acts()
    elif lower.endswith(".pb"):
        yield from _tensorflow(source, where)


def _gguf(source: Source, where: str, limits: Limits, room: Texts) -> Iterator[Act]:
    """The chat templates of a GGUF file, found by their keys, so that nothing else in it need be sound."""
    version = int.from_bytes(source.read_at(4, min(4, source.size - 4)), "little")
    width = 4 if version == 1 else 8
    found_so_far = 0
    for at in range(0, min(source.size, limits.header_bytes), _PIECE):
        data = source.read_at(at, min(_PIECE + 256, source.size - at))
        for found in re.finditer(re.escape(_TEMPLATE), data[: _PIECE + len(_TEMPLATE) - 1]):
            start = at + found.start()
            length = int.from_bytes(source.read_at(start - width, width), "little")
            value = start + length
            if start < width or length > 256 or value + 4 + width > source.size:
                continue
            if int.from_bytes(source.read_at(value, 4), "little") != _STRING:
                continue
            size = int.from_bytes(source.read_at(value + 4, width), "little")
            size = min(size, source.size - value - 4 - width, limits.header_bytes)
            if not room.take(size):
                yield Act("unknown", where, "", f"has more chat templates than are looked into, at byte {at:,}")
                return
            text = source.read_at(value + 4 + width, size).decode("utf-8", "replace")
            key = source.read_at(start, length).decode("utf-8", "replace")
            yield from jinja.acts(text, f"{where}: {shown(key)}")
            found_so_far += 1
            if found_so_far >= _MOST_TEMPLATES:
                yield Act("unknown", where, "", f"has more than {_MOST_TEMPLATES} chat templates")
                return


def _keras(source: Source, where: str, limits: Limits) -> Iterator[Act]:
    root = _hdf5.tree(source, limits, where)
    config = root.attributes.get("model_config")
    if isinstance(config, str):
        try:
            yield from keras.acts(json.loads(config), f"{where}: model_config")
        except (ValueError, RecursionError):
            yield Act("unknown", where, "", "is no JSON, and so is not looked into")
    stack: list[tuple[str, Any]] = [("", root)]
    seen: set[int] = set()
    while stack:
        path, value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, _hdf5.Group):
            stack += [(f"{path}/{name}", held) for name, held in value.members.items()]
        elif isinstance(value, Opaque) and (opens := _elsewhere(value)):
            yield Act("unknown", where, f"h5py.File(…)[{shown(path)!r}]", opens)


def _elsewhere(value: Opaque) -> str:
    if value.name == "h5py.ExternalLink":
        return f"opens another file: `{shown(str(value.kwargs.get('path')))}`"
    if value.kwargs.get("storage") == "external":
        return "reads its values from another file"
    return ""


class _Onnx:
    """One walk over an ONNX model."""

    def __init__(self, source: Source, where: str, limits: Limits) -> None:
        self._source = source
        self._where = where
        self._limits = limits
        self._told: set[str] = set()

    def acts(self) -> Iterator[Act]:
        try:
            for field in message(self._source, self._limits):
                if field.wire == BYTES and field.number == 7:
                    yield from self._graph(message(self._source, self._limits).inner(field))
                elif field.wire == BYTES and field.number == 25:
                    yield from self._function(message(self._source, self._limits).inner(field))
        except FormatError:
            return  # whoever reads it says what is wrong

    def _graph(self, graph: Message) -> Iterator[Act]:
        for field in graph:
            if field.number == 1:
                yield from self._node(graph.inner(field))
            elif field.number == 5:
                yield from self._tensor(graph.inner(field))
            elif field.number == 15:
                for part in graph.inner(field):
                    if part.number in (1, 2) and part.wire == BYTES:
                        yield from self._tensor(graph.inner(part))

    def _function(self, function: Message) -> Iterator[Act]:
        for field in function:
            if field.number == 7:
                yield from self._node(function.inner(field))

    def _node(self, node: Message) -> Iterator[Act]:
        operator = domain = ""
        for field in node:
            if field.number == 4:
                operator = node.text(field)
            elif field.number == 7:
                domain = node.text(field)
            elif field.number == 5:
                yield from self._attribute(node.inner(field))
        full = f"{domain}.{operator}" if domain else operator
        if full in self._told:
            return
        if operator in _PYTHON_OPERATORS:
            self._told.add(full)
            yield Act("dangerous", self._where, f"{shown(full)}(…)", "calls Python functions")
        elif not _DOMAINS.fullmatch(domain):
            self._told.add(full)
            reason = "is a custom operator: native code or a function that comes from elsewhere"
            yield Act("unknown", self._where, f"{shown(full)}(…)", reason)

    def _attribute(self, attribute: Message) -> Iterator[Act]:
        for field in attribute:
            if field.wire != BYTES:
                continue
            if field.number in (5, 10):
                yield from self._tensor(attribute.inner(field))
            elif field.number in (6, 11):
                yield from self._graph(attribute.inner(field))

    def _tensor(self, tensor: Message) -> Iterator[Act]:
        for field in tensor:
            if field.number == 13 and field.wire == BYTES:
                key, value = self._entry(tensor, field)
                if key == "location":
                    yield from self._location(value)

    def _entry(self, tensor: Message, field: Field) -> tuple[str, str]:
        held = {1: "", 2: ""}
        entry = tensor.inner(field)
        for part in entry:
            if part.number in held:
                held[part.number] = entry.text(part)
        return held[1], held[2]

    def _location(self, path: str) -> Iterator[Act]:
        if path in self._told:
            return
        self._told.add(path)
        parts = path.replace("\\", "/").split("/")
        if path.startswith(("/", "\\", "file:", "http:", "https:")) or ".." in parts or re.match(r"[A-Za-z]:", path):
            yield Act("dangerous", self._where, f"open({shown(path)!r})", "reads a file outside of the model's folder")
        elif isinstance(self._source, FileSource):
            beside = self._source.path.with_name(parts[0])
            if beside.is_symlink():
                target = beside.resolve()
                if target.parent != self._source.path.resolve().parent:
                    reason = f"is a link to a file outside of the model's folder: `{shown(str(target))}`"
                    yield Act("dangerous", self._where, f"open({shown(path)!r})", reason)


def _tensorflow(source: Source, where: str) -> Iterator[Act]:
    """Operators of a TensorFlow graph that read or write files, or call Python."""
    if source.size > _LONGEST_PB:
        yield Act("unknown", where, "", f"has {source.size:,} bytes, and is not looked into")
        return
    data = source.read_at(0, source.size)
    for operator in sorted({found[1] for found in _TF_OPERATORS.finditer(data)} - _HARMLESS_TF):
        name = operator.decode()
        reason = "calls Python functions" if "Py" in name else "reads, writes or loads files"
        yield Act("dangerous", where, f"tf.raw_ops.{name}(…)", reason)
    if _TF_LAMBDA.search(data):
        yield Act("dangerous", where, "marshal.loads(…)", "is a Keras layer whose code lies in the file, and is run")
