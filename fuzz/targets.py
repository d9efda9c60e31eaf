"""What is fuzzed: every reader, the search for code, and the languages of patterns, rules and conditions."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fuzz import seeds
from fuzz.mutating import Mutate, either, of_bytes, of_json, of_members, of_numbers, of_opcodes, of_safetensors, of_text
from statedict import formats
from statedict.errors import StatedictError
from statedict.limits import DEFAULT_LIMITS
from statedict.ops.check.code import jinja, sources
from statedict.ops.check.files import FILE_CHECKS, check_files
from statedict.ops.patterns import compile_pattern
from statedict.ops.rules import compile_rule
from statedict.ops.where import compile_where
from statedict.source import BytesSource, Folder
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


def _reader(format: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        index = formats.read(BytesSource(data, "fuzz"), DEFAULT_LIMITS, format)
        model = build(index)
        repr(model)
        for name, tensor in model.state_dict().items():
            if isinstance(name, str) and 0 < tensor.info.nbytes <= _MOST_VALUES and tensor.info.extent is not None:
                tensor.info.extent.source.read_at(tensor.info.extent.offset, min(64, tensor.info.extent.size))

    return run


def _in_folder(file: str, format: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / file).write_bytes(data)
            build(formats.read(Folder(folder), DEFAULT_LIMITS, format))

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


_ZIP = of_members(of_opcodes)
_PLAIN = either(of_bytes, of_numbers)
_PICKLES = either(of_opcodes, of_opcodes, of_numbers, of_bytes)
TARGETS: dict[str, Target] = {
    "safetensors": Target(_reader("safetensors"), seeds.safetensors, of_safetensors),
    "torch": Target(_reader("torch"), seeds.torch_zip, _ZIP),
    "torch-legacy": Target(_reader("torch legacy"), seeds.torch_legacy, _PICKLES),
    "torch-tar": Target(_reader("torch tar"), seeds.torch_tar, _PLAIN),
    "torchscript": Target(_reader("torchscript"), seeds.torchscript, _ZIP),
    "pt2": Target(_reader("pt2"), seeds.pt2, _ZIP),
    "pickle": Target(_reader("pickle"), seeds.pickled, _PICKLES),
    "gguf": Target(_reader("gguf"), seeds.gguf, _PLAIN),
    "onnx": Target(_reader("onnx"), seeds.onnx, _PLAIN),
    "npy": Target(_reader("npy"), seeds.npy, _PLAIN),
    "npz": Target(_reader("npz"), seeds.npz, of_members(_PLAIN)),
    "keras": Target(_reader("keras"), seeds.keras, of_members(_PLAIN)),
    "hdf5": Target(_reader("hdf5"), seeds.hdf5, _PLAIN),
    "msgpack": Target(_reader("msgpack"), seeds.msgpack, _PLAIN),
    "folder": Target(_in_folder("model.safetensors.index.json", "folder"), seeds.index_json, of_json),
    "dcp": Target(_in_folder(".metadata", "dcp"), seeds.dcp, _PICKLES),
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
