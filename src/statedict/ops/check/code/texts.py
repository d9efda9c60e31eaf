"""Texts in and beside checkpoints that say what is run: configs, templates, program text."""

import json
import re
from collections.abc import Iterator
from typing import Any

from statedict.index import shown
from statedict.limits import Limits
from statedict.narrow import is_dict, is_list
from statedict.ops.check.code import jinja, keras, sources
from statedict.ops.check.code.act import Act
from statedict.ops.check.code.names import verdict
from statedict.source import Source

_YAML_TAG = re.compile(r"!!python/([\w/]+):([\w.]+)")
_YAML_TARGET = re.compile(r"^[ \t-]*['\"]?_target_['\"]?[ \t]*:[ \t]*['\"]?([\w.]+)", re.MULTILINE)
_SCRIPT = re.compile(r"(^|/)code/.*\.py$")
_TEXT = 2 << 20
_SIGNS = 200_000
_TEMPLATES = ("chat_template", "default_chat_template")


class Texts:
    """How much more text of one file is looked into: an archive's members may unpack to the same again and again.

    It is twice as much as the file is long, or some MiB, and of programs so many signs.
    """

    def __init__(self, size: int) -> None:
        self._left = max(_TEXT, 2 * size)
        self.signs = max(_SIGNS, size // 8)
        """Words and signs of Python, each of which may be a node of its tree."""

    def take(self, length: int) -> bool:
        """Whether so much more may be looked into, which is counted then."""
        fits = length <= self._left
        self._left -= length * fits
        return fits


def acts(source: Source, where: str, name: str, limits: Limits, room: Texts | None = None) -> Iterator[Act]:
    """What a text says that is run; nothing of a file that is not called as texts are, or too long for one."""
    room = room or Texts(source.size)
    lower = name.lower()
    if not lower.endswith((".json", ".py", ".yaml", ".yml", ".jinja", ".jinja2")) or not source.size:
        return
    if source.size > limits.header_bytes or not room.take(source.size):
        yield Act("unknown", where, "", f"is a text of {source.size:,} bytes, which is not looked into")
        return
    text = source.read_at(0, source.size).decode("utf-8", "replace")
    if lower.endswith(".py"):
        if _SCRIPT.search(name):
            yield from sources.script_acts(text, where)
        else:
            signs = sources.signs(text)
            yield from sources.python_acts(text, where, signs, room.signs)
            room.signs -= min(signs, room.signs)
    elif lower.endswith(".json"):
        yield from _json(text, where)
    elif lower.endswith((".yaml", ".yml")):
        yield from _yaml(text, where)
    else:
        yield from jinja.acts(text, where)


def _json(text: str, where: str) -> Iterator[Act]:
    try:
        held: Any = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not is_dict(held):
        return
    yield from _remote(held, where)
    for key in _TEMPLATES:
        yield from _templates(held.get(key), f"{where}: {key}")
    if "class_name" in held or "layers" in held:
        yield from keras.acts(held, where)
    if '"_target_"' in text:
        yield from _targets(held, where)


def _remote(held: dict[Any, Any], where: str) -> Iterator[Act]:
    """What transformers and diffusers run where they are told to trust the folder."""
    references = held.get("auto_map")
    values: list[Any] = list(references.values()) if is_dict(references) else [references]
    for value in (each for held in values for each in (held if is_list(held) else [held])):
        if isinstance(value, str):
            reason = "is code beside the weights, which `trust_remote_code=True` runs"
            yield Act("unknown", where, f"auto_map: {shown(value)}", reason)
    for key in ("custom_pipelines", "custom_pipeline", "custom_generate"):
        if held.get(key):
            yield Act("unknown", where, f"{key}: {shown(str(held[key]))}", "is code that a loader is told to run")


def _templates(value: Any, where: str) -> Iterator[Act]:
    if isinstance(value, str):
        yield from jinja.acts(value, where)
    elif is_list(value):
        for each in value:
            if is_dict(each):
                yield from _templates(each.get("template"), where)
    elif is_dict(value):
        for each in value.values():
            yield from _templates(each, where)


def _targets(held: Any, where: str) -> Iterator[Act]:
    """What Hydra calls: every `_target_`, wherever it stands."""
    stack = [held]
    for _ in range(1_000_000):
        if not stack:
            return
        value = stack.pop()
        if is_list(value):
            stack += value
        elif is_dict(value):
            stack += value.values()
            if isinstance(value.get("_target_"), str):
                yield from _target(value["_target_"], where)


def _target(path: str, where: str) -> Iterator[Act]:
    module, _, name = path.rpartition(".")
    thought = verdict(module or "builtins", name)
    if thought.grade == "dangerous":
        yield Act("dangerous", where, f"{shown(path)}(…)", f"{thought.reason}, when the config is built (`_target_`)")


def _yaml(text: str, where: str) -> Iterator[Act]:
    for found in _YAML_TAG.finditer(text):
        module, _, name = found[2].rpartition(".")
        thought = verdict(module or "builtins", name or module)
        grade = "dangerous" if thought.grade == "dangerous" or "apply" in found[1] else "unknown"
        yield Act(grade, where, shown(found[0]), "is built by a YAML reader that is not told to be safe", found.start())
    for found in _YAML_TARGET.finditer(text):
        yield from _target(found[1], where)
