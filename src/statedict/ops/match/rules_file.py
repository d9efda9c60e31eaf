"""A match as a file of rules, which `statedict edit --rules` follows and a person may correct."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from statedict.narrow import is_list
from statedict.ops.folding import folded
from statedict.ops.making import MakeRule
from statedict.ops.match.matching import Match
from statedict.ops.rules import compile_rule


def rules_toml(match: Match) -> str:
    """The edits that make the source the target, as TOML: what goes, then what is renamed or made of what."""
    rules: list[tuple[MakeRule, str]] = []
    for rule, lines in match.counted_rules:
        sure = min(line.confidence for line in lines)
        reasons = ", ".join(dict.fromkeys(line.reason for line in lines))
        rules.append((rule, f"{len(lines):,}: {reasons}{'' if sure > _SURE else '; check this'}"))
    return rules_text(_unmade(match), match.unused, "rename" if is_a_chain(match) else "make", rules)


def rules_text(
    notes: Iterable[tuple[str, Sequence[str]]],
    unused: Sequence[str],
    edit: str,
    rules: Iterable[tuple[MakeRule, str]],
) -> str:
    """A file of rules: names told in comments, what is dropped, then `edit` by each rule, with what it does."""
    return "\n".join(_blocks(notes, unused, edit, rules))


def _blocks(
    notes: Iterable[tuple[str, Sequence[str]]],
    unused: Sequence[str],
    edit: str,
    rules: Iterable[tuple[MakeRule, str]],
) -> Iterator[str]:
    for said, names in notes:
        if names:
            yield _comment(f"{said}: {', '.join(folded(names))}")
    if unused:
        rows = "".join(f"    {_toml(pattern)},\n" for pattern in folded(unused))
        yield f"# Nothing of the target is made of these.\ndrop = [\n{rows}]\n"
    for rule, said in rules:
        table = "".join(f"{key} = {_toml(value)}\n" for key, value in rule.table().items())
        yield f"[[{edit}]]  {_comment(said)}\n{table}"


_SURE = 0.75


def _unmade(match: Match) -> Iterator[tuple[str, Sequence[str]]]:
    yield "The target has these, the source not", list(match.missing)
    yield "Of other shapes", [each.target for each in match.mismatched]
    yield "Not decided, add a rule", [each.target for each in match.ambiguous]


def _comment(text: str) -> str:
    return f"# {''.join(map(_escape, text))}"


def is_a_chain(match: Match) -> bool:
    """Whether the rules are renames alone that give the same one after the other as all at once."""
    if not all(rule.is_rename for rule in match.rules):
        return False
    wanted = {line.sources[0]: line.target for line in match.lines}
    if len(wanted) < len(match.lines):
        return False
    rules = [compile_rule(f"{rule.sources[0]}={rule.targets[0]}") for rule in match.rules]
    for name, target in wanted.items():
        for rule in rules:
            new = rule.rename(name)
            name = name if new is None else new
        if name != target:
            return False
    return True


def _toml(value: Any) -> str:
    """A value as TOML has it: texts with what does not print escaped."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if is_list(value):
        return f"[{', '.join(map(_toml, value))}]"
    escaped = "".join(_escape(each) for each in str(value))
    return f'"{escaped}"'


def _escape(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 1 << 16 else f"\\U{ord(character):08x}"
