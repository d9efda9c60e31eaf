"""Models of other formats that run something, open what they should not, or are laid out as their format forbids."""

import base64
import json
import marshal
import struct
import zipfile
from collections.abc import Callable
from typing import Any

from tests.corpus.archives import EVIL, zipped
from tests.corpus.opcodes import PYTHON, RUN, pickled

_LAMBDA = base64.b64encode(marshal.dumps(compile(PYTHON, "x", "eval"))).decode()


def npy(body: bytes = EVIL, descr: str = "|O") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + body


def keras(config: Any) -> bytes:
    return zipped(
        ("metadata.json", b'{"keras_version": "3.8.0"}'),
        ("config.json", json.dumps(config).encode()),
        ("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(64)),
    )


def model_of(*layers: Any) -> dict[str, Any]:
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": list(layers)}}


def layer(kind: str, config: Any, module: str = "keras.layers") -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


_OLD_LAMBDA = layer("Lambda", {"name": "x", "function": [_LAMBDA, None, None], "function_type": "lambda"})
_NEW_LAMBDA = layer("Lambda", {"name": "x", "function": {"class_name": "__lambda__", "config": {"code": _LAMBDA, "defaults": None, "closure": None}}})  # fmt: skip
_FUNCTION = layer("Lambda", {"name": "x", "function": {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}})  # fmt: skip


def gguf(template: str, key: str = "tokenizer.chat_template") -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    values = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    values += text(key) + struct.pack("<I", 8) + text(template)
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + values


def _field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3, value])
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def onnx(node: bytes = b"", tensor: bytes = b"") -> bytes:
    graph = (_field(1, node) if node else b"") + _field(2, b"g") + (_field(5, tensor) if tensor else b"")
    return _field(1, 8) + _field(2, b"x") + _field(7, graph) + _field(8, _field(2, 13))


def onnx_node(operator: bytes, domain: bytes) -> bytes:
    return _field(1, b"a") + _field(2, b"b") + _field(3, b"n") + _field(4, operator) + _field(7, domain)


def onnx_external(path: str) -> bytes:
    location = _field(13, _field(1, b"location") + _field(2, path.encode()))
    return _field(1, 4) + _field(2, 1) + _field(8, b"w") + location + _field(14, 1)


def safetensors(header: Any, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _tensor(begin: int, end: int) -> dict[str, Any]:
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}


def _script() -> bytes:
    code = b"class Net(Module):\n  __parameters__ = []\n  def forward(self: __torch__.Net, x: Tensor) -> Tensor:\n"
    code += b'    _0 = torch.from_file("/etc/passwd", False, 10)\n    return _0\n'
    body = pickled(b"c__torch__\nNet\n)\x81}b", 2)
    return zipped(
        ("net/data.pkl", body), ("net/constants.pkl", pickled(b")", 2)), ("net/code/__torch__.py", code), ("net/version", b"3\n"),
    )  # fmt: skip


_CONCAT = "{{ ''['__cla' ~ 'ss__']['__ba' + 'se__'] }}"
_ESCAPED = r"{{ x|attr('\x5f\x5fclass\x5f\x5f') }}"
_SUBCLASSES = (
    "{% for c in ().__class__.__base__.__subclasses__() %}{% if 'warning' in c.__name__ %}"
    "{{ c()._module.__builtins__['__import__']('os').popen('" + RUN + "').read() }}{% endif %}{% endfor %}"
)
CODE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "an array of objects": (".npy", npy, "picklescan #32"),
    "an array of objects in .npz": (".npz", lambda: zipped(("a.npy", npy())), "picklescan #32"),
    "an array of objects in deflated .npz": (".npz", lambda: zipped(("a.npy", npy()), method=zipfile.ZIP_DEFLATED), "picklescan #32"),
    "a pickle behind an array of numbers": (".npy", lambda: npy(struct.pack("<q", 1) + EVIL, "<i8"), "readers of several in a row"),
    "a Keras Lambda": (".keras", lambda: keras(model_of(_NEW_LAMBDA)), "CVE-2024-3660"),
    "a Keras Lambda of older Keras": (".keras", lambda: keras(model_of(_OLD_LAMBDA)), "modelscan, from the first"),
    "a Keras Lambda in a model in a model": (".keras", lambda: keras(model_of(model_of(_NEW_LAMBDA))), "modelscan #351"),
    "a Keras Lambda in a wrapper": (".keras", lambda: keras(model_of(layer("TimeDistributed", {"layer": _NEW_LAMBDA}))), "modelscan #351"),
    "a function of os in a Keras config": (".keras", lambda: keras(model_of(_FUNCTION)), "CVE-2025-1550"),
    "a class of another module in a Keras config": (".keras", lambda: keras(model_of(layer("Popen", {"args": RUN}, "subprocess"))), "CVE-2025-1550"),
    "get_file in a Keras config": (".keras", lambda: keras(model_of(layer("Lambda", {"function": layer("function", "get_file", "keras.utils")}))), "CVE-2025-8747"),
    "unsafe deserialization switched on": (".keras", lambda: keras(model_of(layer("function", "enable_unsafe_deserialization", "keras.config"))), "CVE-2025-9906"),
    "a TorchModuleWrapper": (".keras", lambda: keras(model_of(layer("TorchModuleWrapper", {"module": "x"}))), "CVE-2025-49655"),
    "a pickle beside a Keras model": (".keras", lambda: zipped(("config.json", b"{}"), ("metadata.json", b"{}"), ("model.weights.npz", EVIL)), "modelscan #262"),
    "a chat template that climbs": (".gguf", lambda: gguf(_SUBCLASSES), "CVE-2024-34359"),
    "a chat template of pieces": (".gguf", lambda: gguf(_CONCAT), "modelaudit #323"),
    "a chat template with escapes": (".gguf", lambda: gguf(_ESCAPED), "modelaudit #323"),
    "a chat template by lipsum": (".gguf", lambda: gguf("{{ lipsum.__globals__.os.popen('x') }}"), "modelaudit #1733"),
    "a second chat template": (".gguf", lambda: gguf(_SUBCLASSES, "tokenizer.chat_template.tool_use"), "llama.cpp: templates by name"),
    "an ONNX file outside": (".onnx", lambda: onnx(tensor=onnx_external("../../../../etc/passwd")), "CVE-2022-25882, CVE-2024-27318"),
    "an ONNX file from the root": (".onnx", lambda: onnx(tensor=onnx_external("/etc/passwd")), "CVE-2022-25882"),
    "an ONNX operator of Python's": (".onnx", lambda: onnx(onnx_node(b"PyOp", b"ai.onnx.contrib")), "onnxruntime-extensions"),
    "an ONNX operator that nobody knows": (".onnx", lambda: onnx(onnx_node(b"Evil", b"evil.domain")), "onnxruntime: custom operators"),
    "TorchScript that reads a file": (".pt", _script, "PyTorch: aten::from_file"),
    "a TensorFlow graph that reads a file": (".pb", lambda: _field(2, _field(1, _field(1, b"r") + _field(2, b"ReadFile") + _field(3, b"a"))), "modelscan, from the first"),
    "a pickle as a .dat file": (".dat", lambda: EVIL, "picklescan, GHSA-769v-p64c-89pr"),
}  # fmt: skip
BROKEN: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "safetensors with a gap": (".safetensors", lambda: safetensors({"a": _tensor(0, 4), "b": _tensor(8, 12)}, bytes(12)), "safetensors' README: no holes"),
    "safetensors that overlap": (".safetensors", lambda: safetensors({"a": _tensor(0, 8), "b": _tensor(4, 12)}, bytes(12)), "safetensors' README: no overlap"),
    "safetensors with more behind": (".safetensors", lambda: safetensors({"a": _tensor(0, 4)}, bytes(4) + EVIL), "safetensors' README: polyglots"),
    "safetensors with a name twice": (".safetensors", lambda: safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"), "safetensors' README: no duplicates"),
    "safetensors whose shape lies": (".safetensors", lambda: safetensors({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}, bytes(4)), "safetensors: TensorInvalidInfo"),
    "safetensors that are cut": (".safetensors", lambda: safetensors({"a": _tensor(0, 400)}, bytes(100)), "a download that broke off"),
    "safetensors with a header of 2**60": (".safetensors", lambda: struct.pack("<Q", 1 << 60) + b"{" + bytes(64), "safetensors: HeaderTooLarge"),
    "safetensors whose shape overflows": (".safetensors", lambda: safetensors({"a": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 0]}}, b""), "safetensors: ValidationOverflow"),
    "GGUF that says 2**60 tensors": (".gguf", lambda: b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "CVE-2024-21802 and others"),
    "GGUF with a string of 2**60": (".gguf", lambda: b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 60), "CVE-2024-23496 and others"),
    "GGUF with more behind": (".gguf", lambda: _gguf_with(bytes(512) + b"hidden" * 99), "polyglots"),
    "an array that is cut": (".npy", lambda: npy(bytes(4), "<f8"), "a download that broke off"),
}  # fmt: skip


def _gguf_with(behind: bytes) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    values = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    tensor = text("a.weight") + struct.pack("<IQIQ", 1, 8, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + values + tensor
    return head + bytes(-len(head) % 32) + bytes(32) + behind
