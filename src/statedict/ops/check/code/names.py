"""What is thought of the names that pickles import, by the two lists beside this file: `known.toml`, `dangerous.toml`.

What is on neither list is unknown; but of Python's own library everything that is not known is dangerous, since its
thousands of functions are there wherever a pickle is loaded, and no checkpoint needs them.
"""

import _compat_pickle
import sys
import tomllib
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from statedict.ops.check.code.act import GRADES, Verdict

SAFE = Verdict("safe")
_NOT_KNOWN = Verdict("unknown", "is on no list of what is known, and runs whatever its module holds")
_LONGEST = 1_000
_MOST_PARTS = 40
_TOO_LONG = Verdict("dangerous", "has a name longer than anything that is imported")
_OWN = "is of Python's own library, of which no checkpoint needs it"
_INSIDE = "reaches for `{}`, by which everything in Python can be had"


class Lists:
    """The two lists, by full name and by module."""

    def __init__(self, known: dict[str, Any], dangerous: dict[str, Any]) -> None:
        self._known = {f"{module}.{name}" for module, names in known["names"].items() for name in names}
        self._classes = tuple(known["classes"]["modules"])
        self._harmless = frozenset(known["harmless"]["modules"])
        self._modules: dict[str, str] = dangerous["modules"]
        self._tops = {path.partition(".")[0] for path in self._modules}
        self._names = {
            f"{module}.{name}": reason for module, names in dangerous["names"].items() for name, reason in names.items()
        }
        self._by_any_name = frozenset(dangerous["anywhere"]["modules"])
        self._unknown = {f"{module}.{name}" for module, names in dangerous["unknown"].items() for name in names}
        self._suspect: dict[str, str] = dangerous["anywhere"]["names"]
        self._inside = frozenset(dangerous["anywhere"]["allowed_dunders"])

    def verdict(self, module: str, name: str) -> Verdict:
        """What is thought of that name in that module, by Python 3's names and by Python 2's."""
        verdicts = [self._verdict(*each) for each in _spellings(module, name)]
        return max(verdicts, key=lambda each: GRADES.index(each.grade))

    def _verdict(self, module: str, name: str) -> Verdict:
        full = f"{module}.{name}"
        if len(full) > _LONGEST or full.count(".") > _MOST_PARTS:
            return _TOO_LONG
        parts = name.split(".")
        if module.partition(".")[0] == "__torch__" and len(parts) == 1:
            return SAFE  # a class of TorchScript, whose code lies in the same archive and is looked into there
        if full in self._known and len(parts) == 1:
            return SAFE
        if full in self._unknown and len(parts) == 1:
            return _NOT_KNOWN
        if reason := self._forbidden(module, name, parts):
            return Verdict("dangerous", reason)
        if len(parts) == 1 and name[:1].isupper() and self._is_of_classes(module):
            return SAFE
        if len(parts) == 2 and f"{module}.{parts[0]}" in self._known and parts[1].isupper():
            return SAFE  # a member of an enumeration
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names and top not in self._harmless:
            return Verdict("dangerous", _OWN)
        return _NOT_KNOWN

    def _forbidden(self, module: str, name: str, parts: list[str]) -> str:
        """Why the name is dangerous, or ""."""
        full = f"{module}.{name}"
        for at in range(full.count(".") + 1):  # `torch.library` may name `torch.utils.collect_env.run`
            path = full.split(".", at)[-1]
            if (path in self._names) and (at == 0 or "." in path):
                return self._names[path]
        for inner in (*parts, *module.split(".")[1:]):
            if inner.startswith("__") and inner.endswith("__") and inner not in self._inside:
                return _INSIDE.format(inner)
        if reason := next((self._modules[path] for path in _ancestors(full) if path in self._modules), ""):
            return reason
        for part in parts:
            if (found := part if part in self._by_any_name else part.lstrip("_")) in self._by_any_name:
                return self._modules.get(found, _OWN)
        for at in range(1, len(parts)):  # `pathlib` may name `os.system`
            path = ".".join(parts[at - 1 :]) if parts[at - 1] in self._tops else ""
            if reason := next((self._modules[each] for each in _ancestors(path) if each in self._modules), ""):
                return reason
        return self._suspect.get(parts[-1], "")

    def _is_of_classes(self, module: str) -> bool:
        return any(path in self._classes for path in _ancestors(module))


def _ancestors(path: str) -> Iterator[str]:
    """The path, and those that it begins with: "a.b.c", "a.b", "a"."""
    while path:
        yield path
        path = path.rpartition(".")[0]


def _spellings(module: str, name: str) -> set[tuple[str, str]]:
    """The name as it stands, and as pickles of Python 2 are read by Python 3."""
    moved = (_compat_pickle.IMPORT_MAPPING.get(module, module), name)
    return {(module, name), _compat_pickle.NAME_MAPPING.get((module, name), moved)}


@cache
def lists() -> Lists:
    """The lists that come with statedict."""
    here = resources.files("statedict.ops.check.code")
    return Lists(*(tomllib.loads((here / f"{name}.toml").read_text("utf-8")) for name in ("known", "dangerous")))


@lru_cache(1 << 14)
def verdict(module: str, name: str) -> Verdict:
    """What the lists that come with statedict say of a name."""
    return lists().verdict(module, name)
