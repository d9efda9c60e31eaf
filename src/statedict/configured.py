"""The kinds of a Hugging Face folder's modules, exact, as its `config.json` and `transformers` tell them."""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from statedict.dtypes import dtype
from statedict.errors import FormatError, LimitError, MissingExtraError, StatedictError
from statedict.index import Index, ModuleInfo, TensorInfo
from statedict.limits import DEFAULT_LIMITS
from statedict.narrow import is_dict, is_list
from statedict.source import BytesSource, Folder, source_of

_PROGRAM = "statedict.interop.transformers"
_SECONDS = 300
_MOST_MODULES = 100_000
_MODULES_A_TENSOR = 32
_COUNTS = ("layer", "depth", "block", "expert", "label", "stage")
"""Parts of the names of fields that say how often something is repeated."""


def configured(index: Index) -> Index:
    """The index with what `transformers` tells of its modules: kinds, attributes, order, and those without tensors.

    The model that the folder's `config.json` names as its `architectures` is built in a process of its own, without
    values, network or code of the folder's. Where tensors are not as it says, modules stay as they were.

    Raises StatedictError where there is no `config.json` or it is another model's, FormatError where no model can be
    built from it, LimitError where it asks for too much, MissingExtraError where `transformers` is not installed.
    """
    where = index.source.name
    root = index.modules.get("", ModuleInfo())
    config = root.attributes.get("config")
    if not is_dict(config) or not config.get("architectures"):
        raise StatedictError(
            f"{where}: has no `config.json` that names its `architectures`; open the folder that has one, or leave "
            'the kinds to be inferred, without `kinds="config"`'
        )
    most = _MOST_MODULES + _MODULES_A_TENSOR * len(index.tensors)
    for name, number in _counts(config):
        if number > most:
            raise LimitError(
                f"{where}: `config.json` asks for {number:,} `{name}`, but there are {len(index.tensors):,} tensors"
            )
    tensors = {name: info.shape for name, info in index.tensors.items()}
    answer = _asked({"config": config, "tensors": tensors, "most": most}, where)
    if not answer["modules"]:
        raise StatedictError(
            f"{where}: none of its tensors is one of `{config['architectures'][0]}`, which `config.json` names; "
            'open it without `kinds="config"`'
        )
    return _joined(index, answer)


def blueprint(path: str) -> Index:
    """The tensors, without values, that the model would have which a `config.json`, or the folder of one, describes.

    Either may be a URL. Raises ReadError where it cannot be read, otherwise as `configured` does.
    """
    source = source_of(path)
    if isinstance(source, Folder):
        source = source.sibling("config.json")
    file = source.name
    if source.size > DEFAULT_LIMITS.header_bytes:
        raise LimitError(f"{file}: has {source.size:,} bytes, and is no configuration of a model")
    try:
        config = json.loads(source.read_at(0, source.size))
    except (ValueError, RecursionError):
        raise FormatError(f"{file}: is no JSON, so no configuration of a model") from None
    if not is_dict(config) or not config.get("architectures"):
        raise StatedictError(
            f"{file}: names no `architectures`, so no model can be built from it; add the class's name"
        )
    for name, number in _counts(config):
        if number > _MOST_MODULES:
            raise LimitError(f"{file}: asks for {number:,} `{name}`; {_MOST_MODULES:,} modules are built at most")
    answer = _asked({"config": config, "tensors": None, "most": _MOST_MODULES}, file)
    tensors: dict[str, TensorInfo] = {}
    for name, facts in answer["state"].items():
        first = tensors.get(facts["as"])
        shape = tuple(facts["shape"])
        tensors[name] = first or TensorInfo(name, dtype(facts["dtype"]), shape, None, device="meta")
    return _joined(
        Index("config", BytesSource(b"", file), tensors, {"": ModuleInfo(attributes={"config": config})}), answer
    )


def _counts(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Every number of a configuration that says how often something is repeated, with the field's name."""
    nested = [config]  # without recursion, since a hostile one is nested as deep as JSON can be read
    while nested:
        for name, value in nested.pop().items():
            if is_dict(value):
                nested.append(value)
            elif any(part in name for part in _COUNTS):
                yield from ((name, each) for each in (value if is_list(value) else [value]) if isinstance(each, int))


def _asked(question: dict[str, Any], where: str) -> dict[str, Any]:
    """The answer of the program that knows `transformers`. Raises as `configured` does."""
    import subprocess  # these two cost as much as opening a file, which nearly always is without them
    from importlib.util import find_spec

    if find_spec("transformers") is None or find_spec("torch") is None:
        raise MissingExtraError(
            "transformers is not installed, which `config.json` is for; install it with "
            "`pip install 'statedict[transformers]'`"
        )
    try:
        asked = json.dumps(question).encode()
    except RecursionError:
        raise LimitError(f"{where}: `config.json` is nested too deep") from None
    try:
        done = subprocess.run(  # noqa: S603 - our own program, with Python itself
            [sys.executable, "-P", "-m", _PROGRAM],
            input=asked,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        raise LimitError(f"{where}: building what `config.json` describes took longer than {_SECONDS} s") from None
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise FormatError(f"{where}: nothing can be built from `config.json`: {said or done.returncode}") from None
    if "error" in answer:
        raise (LimitError if answer["limit"] else FormatError)(f"{where}: `config.json` {answer['error']}")
    return answer


def _environment() -> dict[str, str]:
    """That of this process, where the same libraries are found, but no network."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if os.path.isabs(path)),  # noqa: PTH117 - may be a zip
        "PYTHONWARNINGS": "ignore",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def _joined(index: Index, answer: dict[str, Any]) -> Index:
    told: dict[str, dict[str, Any]] = answer["modules"]
    modules = {path: _module(facts, index.modules.get(path, ModuleInfo())) for path, facts in told.items()}
    others = {path: info for path, info in index.modules.items() if path not in modules}
    tensors = _with_gradients(index.tensors, _parameters(told) - set(answer["frozen"]))
    tied = {name: tensors[first] for name, first in answer["tied"].items()}
    return dataclasses.replace(index, tensors=tensors | tied, modules={"": index.modules[""]} | modules | others)


def _parameters(told: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The full names of all that is a parameter."""
    return {f"{path}.{local}" if path else local for path, facts in told.items() for local in facts["parameters"]}


def _with_gradients(tensors: Mapping[str, TensorInfo], names: set[str]) -> dict[str, TensorInfo]:
    """The tensors, those of these names marked: `build` asks the index where the roles are told."""
    made: dict[int, TensorInfo] = {}
    return {
        name: made.setdefault(id(info), info._replace(requires_grad=info.requires_grad or name in names))
        for name, info in tensors.items()
    }


def _module(facts: dict[str, Any], known: ModuleInfo) -> ModuleInfo:
    """What is told of a module, with what the file itself says of it."""
    return ModuleInfo(
        kind=facts["kind"],
        class_name=facts["class_name"],
        attributes={name: _read(value) for name, value in facts["attributes"].items()} | dict(known.attributes),
        parameters=tuple(facts["parameters"]),
        buffers=tuple(facts["buffers"]),
        modules=tuple(facts["modules"]),
        version=known.version or facts["version"],
    )


def _read(value: Any) -> Any:
    """A value as it was before JSON, which has no tuples and no types."""
    if is_list(value):
        return [_read(each) for each in value]
    if not is_dict(value):
        return value
    return dtype(value["dtype"]) if "dtype" in value else tuple(map(_read, value["tuple"]))
