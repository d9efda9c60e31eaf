"""Keras's configs: layers that run code of the file, and objects of modules that are none of Keras's.

A config is JSON in which every object says its class, and where that is from: `module`, `class_name`, `registered_name`
(Keras 3); a function is of the class "function", with its name as its config. CVE-2024-3660 and CVE-2025-1550 are what
came of believing them.
"""

from collections.abc import Iterator
from typing import Any

from statedict.index import shown
from statedict.narrow import is_dict, is_list
from statedict.ops.check.code.act import Act
from statedict.ops.check.code.names import verdict

_OURS = frozenset({"keras", "keras_hub", "keras_nlp", "keras_cv", "tf_keras", "tensorflow"})
_READERS = {
    "TorchModuleWrapper": "reads a pickle, which can run code",
    "TFSMLayer": "reads a TensorFlow model from a path in the file, and runs it",
    "JaxLayer": "runs functions out of the file",
    "FlaxLayer": "runs functions out of the file",
}
_LOOKUPS = frozenset({"StringLookup", "IntegerLookup", "TextVectorization"})
_PLAIN = frozenset(
    {"__tuple__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__keras_tensor__"}
)
_MOST = 1_000_000


def acts(config: Any, where: str) -> Iterator[Act]:
    """What building a model of a config would run."""
    left = _MOST
    stack: list[Any] = [config]
    while stack:
        value = stack.pop()
        left -= 1
        if left < 0:
            yield Act("unknown", where, "", f"has more than {_MOST:,} values, of which the rest was not looked at")
            return
        if is_list(value):
            stack += value
        elif is_dict(value):
            if isinstance(value.get("class_name"), str):
                yield from _object(value, where)
            stack += value.values()


def _object(held: dict[Any, Any], where: str) -> Iterator[Act]:
    name, module = held["class_name"], held.get("module")
    config = held.get("config")
    last = name.rpartition(">")[2].rpartition(".")[2]
    if name == "__lambda__":
        yield Act("dangerous", where, "marshal.loads(…)", "is a function whose code lies in the file, and is run")
    elif last == "Lambda" and is_dict(config):
        yield from _lambda(config, where)
    elif last in _READERS:
        yield Act("dangerous", where, f"{shown(name)}(…)", _READERS[last])
    elif last in _LOOKUPS and is_dict(config) and isinstance(config.get("vocabulary"), str):
        path = shown(config["vocabulary"])
        yield Act("unknown", where, f"{name}(vocabulary={path!r})", "reads that file as it is built")
    if isinstance(module, str) and name not in _PLAIN:
        called = config if name == "function" and isinstance(config, str) else name
        yield from _imported(module, called, where)


def _lambda(config: dict[Any, Any], where: str) -> Iterator[Act]:
    function = config.get("function")
    if is_list(function) or (is_dict(function) and function.get("class_name") == "__lambda__"):
        if is_list(function):
            yield Act("dangerous", where, "marshal.loads(…)", "is a function whose code lies in the file, and is run")
    elif isinstance(function, str):
        module = config.get("module")
        yield from _imported(module if isinstance(module, str) else "", function, where)
        if "lambda" in str(config.get("function_type", "")):
            yield Act("dangerous", where, "marshal.loads(…)", "is a function whose code lies in the file, and is run")
    elif function is not None and not is_dict(function):
        yield Act("unknown", where, f"Lambda({str(function)[:60]})", "is a function that is not understood")


def _imported(module: str, name: str, where: str) -> Iterator[Act]:
    thought = verdict(module or "__main__", name)
    written = f"from {shown(module or '__main__')} import {shown(name)}"
    if thought.grade == "dangerous":
        yield Act("dangerous", where, written, thought.reason)
    elif module.partition(".")[0] not in _OURS and thought.grade != "safe":
        yield Act("unknown", where, written, "is none of Keras's own")
