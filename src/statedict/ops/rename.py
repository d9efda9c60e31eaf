"""`rename`: a tree whose tensors have other names, and whose modules go along."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from statedict import collector
from statedict.errors import PatternError, StatedictError
from statedict.index import EMPTY, ModuleInfo, shown
from statedict.ops.apart import Part, Parts, apart, parted, together
from statedict.ops.patterns import suggestion
from statedict.ops.rules import Rule, compile_rule
from statedict.tree.module import Module

_MOST_TOLD = 20
_MOST_HELD = 3


@collector.paused()
def rename(model: Module, *rules: str) -> Module:
    """A tree whose tensors have the names that the rules give them, one rule after the other.

    A rule is `PATTERN=REPLACEMENT`, as `rules.compile_rule` says: `module.**=**` takes a prefix away, `**=model.**`
    adds one, `layers.{i}.attn.*=blocks.{i}.attention.*` changes parts. Modules go where their tensors go, with their
    kinds, attributes and versions. Tensors are shared with `model`, which is not changed.

    Raises PatternError for a rule that is malformed or fits no tensor, and StatedictError where two tensors would have
    one name: it tells all of them.
    """
    compiled = [compile_rule(rule) for rule in rules]
    parts = apart(model)
    names = _renamed([part.name for part in parts.tensors], compiled)
    tensors = [part._replace(name=name, was=part.name) for part, name in zip(parts.tensors, names, strict=True)]
    check_names(tensors)
    moved, split = moves(parts, tensors, compiled)
    return together(parts, tensors, moved, others=split)


def _renamed(names: list[str], rules: Iterable[Rule]) -> list[str]:
    for rule in rules:
        found = [rule.rename(name) for name in names]
        if all(name is None for name in found):
            raise PatternError(f"`{rule.pattern}` matches no name{suggestion(rule.pattern, names)}")
        names = [name if new is None else new for name, new in zip(names, found, strict=True)]
    return names


def check_names(tensors: list[Part]) -> None:
    """Nothing, where each name is that of one tensor. Raises StatedictError, which tells all that are not."""
    found: dict[str, dict[int, str]] = {}
    for part in tensors:
        found.setdefault(part.name, {})[id(part.info)] = part.was or ""
    twice = [f"`{shown(name)}` ({_few(list(held.values()))})" for name, held in found.items() if len(held) > 1]
    if twice:
        more = f" and {len(twice) - _MOST_TOLD:,} more" if len(twice) > _MOST_TOLD else ""
        what = "name would be that of several tensors" if len(twice) == 1 else "names would be those of several tensors"
        raise StatedictError(
            f"{len(twice):,} {what}: {', '.join(twice[:_MOST_TOLD])}{more}; drop or rename all but one of each first"
        )
    if nameless := next((part for part in tensors if not parted(part.name)[1]), None):
        raise StatedictError(f"tensor `{shown(nameless.was or '')}` would have no name; keep a part of it")


def _few(names: list[str]) -> str:
    few = " and ".join(f"`{shown(name)}`" for name in names[:_MOST_HELD])
    return few if len(names) <= _MOST_HELD else f"{few} and {len(names) - _MOST_HELD:,} more"


def moves(
    parts: Parts, tensors: list[Part], rules: list[Rule]
) -> tuple[Mapping[str, str | None], Mapping[str, ModuleInfo]]:
    """Where each module goes (None: nowhere), and what is split off the root, which stays if it is a dict."""
    moved = _followed(parts, tensors)
    for path, info in parts.modules.items():  # parents first
        if path not in moved:
            above, local = parted(path)
            named = _applied(path, rules)
            up = moved.get(above, above) if path else ""
            moved[path] = named if named != path or up is None else f"{up}.{local}" if up else local
        if moved[path] is None and info.container and info.attributes:
            moved[path] = path
    target = moved.get("")
    root = parts.modules[""]
    if target and root.container:
        moved[""] = ""
        return moved, {target: replace(root, container=None, attributes=EMPTY, keys=EMPTY)}
    return moved, EMPTY


def _followed(parts: Parts, tensors: list[Part]) -> dict[str, str | None]:
    """Where those modules go that hold tensors, or that are above such: where most of what they hold goes."""
    votes: dict[str, Counter[str]] = {}
    for part in tensors:
        votes.setdefault(parted(part.was or part.name)[0], Counter())[parted(part.name)[0]] += 1
    moved: dict[str, str | None] = {}
    for path in sorted({*parts.modules, *votes}, key=lambda path: -path.count(".") if path else 1):
        if path not in votes:
            continue
        found = votes[path]
        target = moved[path] = max(found, key=lambda each: (found[each], each == path)) if found else None
        if path:
            above = votes.setdefault(parted(path)[0], Counter())
            if target:
                above[parted(target)[0]] += 1
    return moved


def _applied(name: str, rules: Iterable[Rule]) -> str:
    for rule in rules:
        new = rule.rename(name)
        name = name if new is None else new
    return name
