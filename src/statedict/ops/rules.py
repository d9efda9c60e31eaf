"""Rules that give names: `layers.{i}.attn.*=blocks.{i}.attention.*`, a pattern and what takes its place."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from statedict.errors import PatternError
from statedict.narrow import is_number
from statedict.ops.patterns import PatternParser

_NAME = re.compile(r"\{([A-Za-z_]\w*)\}")
_SUM = re.compile(r"(\{[A-Za-z_]\w*)([+-]\d{1,9})\}", re.ASCII)
"""A group of the pattern with a number added: `{i+1}`."""
_WILD = re.compile(r"\*{2,}|\*|\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
"""What of a replacement stands for what the pattern has found: stars and groups, in which groups may be."""


class Sum(NamedTuple):
    """What a group has found, with a number added."""

    group: int
    added: int


Piece = str | int | Sum
"""A stretch of a replacement: text, what a group has found, or a number beside it."""


class Rule(NamedTuple):
    """One rule, compiled."""

    text: str
    rename: Callable[[str], str | None]
    """The new name for a name that the pattern fits, None for any other."""

    @property
    def pattern(self) -> str:
        return split(self.text)[0]


def split(rule: str) -> tuple[str, str]:
    """Both sides of a rule. Raises PatternError where it has not two."""
    pattern, sign, replacement = rule.partition("=")
    if not sign or "=" in replacement or not pattern:
        raise PatternError(f"`{rule}` is no rule; expected PATTERN=REPLACEMENT, such as `module.**=**`")
    return pattern, replacement


def compile_rule(rule: str) -> Rule:
    """The rule that `PATTERN=REPLACEMENT` says.

    The pattern is one of `patterns.compile_pattern`; besides, `{name}` stands for one whole part, or beside other
    characters for a number. In the replacement, each `*` and `**` stands for what the next `*` or `**` of the pattern
    has found, and each `{...}` for what the same `{...}` has; `{i+1}` for the number after what `{i}` has, so that the
    pattern then fits numbers alone. A `**` that has found no part leaves none.

    Raises PatternError where the replacement has more than the pattern, or either is malformed.
    """
    pattern, replacement = split(rule)
    parser = _Capturing(pattern)
    fits = re.compile(parser.whole(), re.DOTALL).fullmatch
    pieces = list(_pieces(rule, replacement, parser.found))

    def rename(name: str) -> str | None:
        found = fits(name)
        return None if found is None else _filled(pieces, found)

    return Rule(rule, rename)


class _Capturing(PatternParser):
    """A pattern that keeps what each star and group outside of braces has found, in the order of `found`."""

    PARTS = "(.*)"

    def __init__(self, pattern: str) -> None:
        super().__init__(pattern)
        self.found: list[str] = []
        """What stands in the pattern for each group of the regular expression: "*", "**" or "{...}"."""

    def add_parts(self, pieces: list[str]) -> None:
        self.found.append("**")
        super().add_parts(pieces)

    def outermost(self) -> str:
        start = self.at
        named = _NAME.match(self.pattern, start)
        if named is None:
            piece = super().outermost()
            text = self.pattern[start : self.at]
            if text[0] not in "*{":
                return piece
            self.found.append("**" if text.startswith("**") else text)
            return f"({piece})"
        self.at = named.end()
        if named[0] in self.found:
            return rf"(?:\{self.found.index(named[0]) + 1})"
        self.found.append(named[0])
        alone = self.pattern[start - 1 : start] in ("", ".") and self.pattern[self.at : self.at + 1] in ("", ".")
        return r"([^.]+)" if alone else r"(\d+)"


def _pieces(rule: str, replacement: str, found: list[str]) -> Iterator[Piece]:
    """The replacement as text and numbers of groups."""
    used: dict[str, int] = {}
    end = 0
    for wild in _WILD.finditer(replacement):
        yield replacement[end : wild.start()]
        end, text = wild.end(), "**" if wild[0].startswith("**") else wild[0]
        if (added := _SUM.fullmatch(text)) is not None and f"{added[1]}}}" in found:
            yield Sum(found.index(f"{added[1]}}}") + 1, int(added[2]))
            continue
        groups = [at for at, each in enumerate(found, 1) if each == text]
        turn = used.get(text, 0)
        used[text] = turn + 1
        if not groups or (text[0] == "*" and turn >= len(groups)):
            raise PatternError(
                f"`{rule}`: `{text}` on the right stands for what `{text}` on the left has found, which has "
                f"{f'only {len(groups)}' if groups else 'none'}"
            )
        yield groups[min(turn, len(groups) - 1)]
    if "{" in (rest := replacement[end:]) or "}" in rest:
        raise PatternError(f"`{rule}`: a brace on the right has no other")
    yield rest


def _filled(pieces: list[Piece], found: re.Match[str]) -> str | None:
    """The new name: parts that stand for none are left out, with a dot. None where a number would be none."""
    name = ""
    dropped = False
    for piece in pieces:
        text = _number(piece, found) if isinstance(piece, Sum) else piece if isinstance(piece, str) else found[piece]
        if text is None and isinstance(piece, Sum):
            return None
        text = text or ""
        if dropped and text.startswith("."):
            text = text[1:] if not name or name.endswith(".") else text
        if text:
            dropped = False
        elif isinstance(piece, int):
            dropped = True
        name += text
    return name.removesuffix(".") if dropped else name


def _number(piece: Sum, found: re.Match[str]) -> str | None:
    """The number that a sum makes; None where it is added to none, or comes to less than 0."""
    text = found[piece.group]
    total = int(text) + piece.added if is_number(text) else -1
    return str(total) if total >= 0 else None
