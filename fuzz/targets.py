"""What is fuzzed: every reader, the search for code, and the languages of patterns, rules and conditions."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fuzz import seeds
from fuzz.mutating import (
    Mutate,
    either,
    of_bytes,
    of_json,
    of_members,
    of_numbers,
    of_opcodes,
    of_safetensors,
    of_text,
    unzipped,
)
from statedict import formats
from statedict.errors import StatedictError
from statedict.limits import DEFAULT_LIMITS
from statedict.ops.check.code import jinja, sources
from statedict.ops.check.files import FILE_CHECKS, check_files
from statedict.ops.patterns import compile_pattern
from statedict.ops.rules import compile_rule
from statedict.ops.where import compile_where
from statedict.source import BytesSource, Folder, Source
from statedict.tree.build import build

_MOST_VALUES = 1 << 16
_NAMES = ("layers.0.weight", "a.b.c", "x" * 60, "layers.11.attn.q.bias")
_FACTS = {
    "ndim": 2,
    "numel": 4,
    "dtype": "float32",
    "shape": (2, 2),
    "name": "a.b",
    "kind": "Linear",
    "role": "parameter",
}


@dataclass(frozen=True)
class Target:
    """One thing that is fuzzed."""

    run: Callable[[bytes], None]
    """Read the bytes. Anything that it raises but StatedictError is a fault."""
    seeds: Callable[[], Iterable[bytes]]
    mutate: Mutate
    format: str = ""
    """The format, as `statedict.formats` has it, of one that is a reader's."""
    native: bool = False
    """Whether a library of somebody else's reads it, in another language, whose faults end the process."""


def _open(source: Source, format: str) -> None:
    """Read an index, make its tree, show it, and read some values of all small tensors."""
    model = build(formats.read(source, DEFAULT_LIMITS, format))
    repr(model)
    for name, tensor in model.state_dict().items():
        if isinstance(name, str) and 0 < tensor.info.nbytes <= _MOST_VALUES and tensor.info.extent is not None:
            tensor.info.extent.source.read_at(tensor.info.extent.offset, min(64, tensor.info.extent.size))


def _reader(format: str) -> Callable[[bytes], None]:
    return lambda data: _open(BytesSource(data, "fuzz"), format)


def _in_folder(file: str, format: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / file).write_bytes(data)
            _open(Folder(folder), format)

    return run


def _folder(format: str) -> Callable[[bytes], None]:
    """A folder of several files, which an input holds as a zip archive."""

    def run(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, held in unzipped(data):
                path = Path(folder) / name
                if path.resolve().is_relative_to(folder) and "\0" not in name:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(held)
            _open(Folder(folder), format)

    return run


def _check(data: bytes) -> None:
    check_files(BytesSource(data, "fuzz.pt"), FILE_CHECKS, DEFAULT_LIMITS)


def _sniff(data: bytes) -> None:
    formats.read(BytesSource(data, "fuzz"), DEFAULT_LIMITS)


def _pattern(data: bytes) -> None:
    found = compile_pattern(data.decode("utf-8", "replace"))
    for name in _NAMES:
        found.match(name)


def _rule(data: bytes) -> None:
    found = compile_rule(data.decode("utf-8", "replace"))
    for name in _NAMES:
        found.rename(name)


def _where(data: bytes) -> None:
    compile_where(data.decode("utf-8", "replace"))(_FACTS)


def _template(data: bytes) -> None:
    list(jinja.acts(data.decode("utf-8", "replace"), "fuzz"))


def _source(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    list(sources.python_acts(text, "fuzz"))
    list(sources.script_acts(text, "fuzz"))


def _of(format: str, made: Callable[[], Iterable[bytes]], mutate: Mutate) -> Target:
    return Target(_reader(format), made, mutate, format, native=format in ("hdf5", "keras"))


_ZIP = of_members(of_opcodes)
_PLAIN = either(of_bytes, of_numbers)
_PICKLES = either(of_opcodes, of_opcodes, of_numbers, of_bytes)
TARGETS: dict[str, Target] = {
    "safetensors": _of("safetensors", seeds.safetensors, of_safetensors),
    "torch": _of("torch", seeds.torch_zip, _ZIP),
    "torch-legacy": _of("torch legacy", seeds.torch_legacy, _PICKLES),
    "torch-tar": _of("torch tar", seeds.torch_tar, _PLAIN),
    "torchscript": _of("torchscript", seeds.torchscript, _ZIP),
    "pt2": _of("pt2", seeds.pt2, _ZIP),
    "pickle": _of("pickle", seeds.pickled, _PICKLES),
    "gguf": _of("gguf", seeds.gguf, _PLAIN),
    "onnx": _of("onnx", seeds.onnx, _PLAIN),
    "npy": _of("npy", seeds.npy, _PLAIN),
    "npz": _of("npz", seeds.npz, of_members(_PLAIN)),
    "keras": _of("keras", seeds.keras, of_members(_PLAIN)),
    "hdf5": _of("hdf5", seeds.hdf5, _PLAIN),
    "msgpack": _of("msgpack", seeds.msgpack, _PLAIN),
    "folder": Target(_in_folder("model.safetensors.index.json", "folder"), seeds.index_json, of_json, "folder"),
    "dcp": Target(_in_folder(".metadata", "dcp"), seeds.dcp, _PICKLES, "dcp"),
    "dcp-safetensors": Target(
        _folder("dcp safetensors"), seeds.dcp_safetensors, of_members(of_safetensors), "dcp safetensors"
    ),
    "orbax": Target(_folder("orbax"), seeds.orbax, of_members(either(of_json, _PLAIN)), "orbax", native=True),
    "tflite": _of("tflite", seeds.tflite, _PLAIN),
    "any": Target(_sniff, seeds.hostile, either(_PLAIN, of_opcodes, of_members(of_opcodes))),
    "check": Target(_check, seeds.hostile, either(_PLAIN, of_opcodes, of_members(of_opcodes), of_safetensors)),
    "pattern": Target(_pattern, seeds.texts("layers.{0-11}.**.weight", "{a,b{c,d}}.*", "a.**.b.*"), of_text),
    "rule": Target(_rule, seeds.texts("layers.{i}.attn.*=blocks.{i+1}.attention.*", "**.a=b.**"), of_text),
    "where": Target(_where, seeds.texts("ndim == 4 and numel > 1e6", "name.startswith('a') or shape[0] % 2"), of_text),
    "template": Target(_template, seeds.texts("{% for m in messages %}{{ m['role'] }}{% endfor %}"), of_text),
    "source": Target(_source, seeds.texts("import os\nos.system('x')\n", "class N(Module):\n  ops.x.y(1)\n"), of_text),
}


def run(target: Target, data: bytes) -> None:
    """Run one input. Raises what is a fault."""
    try:
        target.run(data)
    except StatedictError as error:
        text = str(error)
        if "\n" in text or not text.isprintable():
            raise AssertionError(f"an error that is not one line: {text!r}") from error
