"""Why a checkpoint does not fit a model, in a line or two for the end of `load_state_dict`'s error."""

from collections import Counter
from collections.abc import Collection, Sequence

from statedict.ops.match.matching import Match, match
from statedict.tree import hints
from statedict.tree.module import Module

_MOST_MATCHED = 20_000
"""Matching takes some 0.1 ms for each tensor: more of them are not worth the wait for an error's text."""
_MOST_NAMED = 3


def explained(source: Module, target: Module, found: Match | None) -> list[str]:
    """What would make the tensors of `source` load into `target`; `found` is the match that was tried, if any."""
    if found is not None:
        return _left_open(found, source.state_dict())
    wanted, given = target.state_dict(), source.state_dict()
    lost = [name for name in wanted if name not in given]
    if not lost:
        return []
    if said := _part(wanted, given, len(wanted) - len(lost)):
        return [said]
    if len(given) + len(wanted) <= _MOST_MATCHED:
        found = match(source, target, values=False)
        fitting = len({line.target for line in found.lines} & wanted.keys())
        if fitting > len(wanted) - len(lost):
            whole = f"All {fitting:,}" if fitting == len(wanted) else f"{fitting:,} of the model's {len(wanted):,}"
            rules = _listed([str(rule) for rule in found.rules])
            return [f"{whole} tensors are found with `match=True`, by {rules}."]
    return hints.of_keys({name: wanted[name] for name in lost}, given, [name for name in given if name not in wanted])


def _part(wanted: Collection[str], given: Collection[str], fitting: int) -> str:
    """The part of the checkpoint that has most of the names, and more than all of it."""
    counts: Counter[str] = Counter()
    for name in given:
        head, dot, rest = name.partition(".")
        while dot:
            counts[head] += rest in wanted
            local, dot, rest = rest.partition(".")
            head = f"{head}.{local}"
    key, count = max(counts.items(), key=lambda each: each[1], default=("", 0))
    if count <= max(fitting, len(wanted) // 2):
        return ""
    names = f"All {count:,}" if count == len(wanted) else f"{count:,} of the {len(wanted):,}"
    return f"{names} names of the model are in the checkpoint's part `{key}`: pass `key={key!r}`."


def _left_open(found: Match, given: Collection[str]) -> list[str]:
    lost = [name for name in found.missing if name not in given]
    lines = [f"No tensor of the checkpoint is {_listed(lost)}."] if lost else []
    lines += [f"`{each.target}`: {each.advice}." for each in found.mismatched[:_MOST_NAMED]]
    lines += [f"`{each.target}` may be one of several: {each.reason}." for each in found.ambiguous[:_MOST_NAMED]]
    return lines


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_MOST_NAMED])
    return shown if len(names) <= _MOST_NAMED else f"{shown} and {len(names) - _MOST_NAMED:,} more"
