"""Patterns over dotted names: `*` within one part, `**` across parts, `{a,b}` alternatives, `{0-11}` ranges."""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from statedict.errors import PatternError

_RANGE = re.compile(r"(\d{1,18})-(\d{1,18})", re.ASCII)
_DEEPEST = 50
"""Braces in braces."""
_DIGITS = re.compile(r"\d+", re.ASCII)
_STARS = re.compile(r"\*+")
_MOST_SHAPES = 3_000
"""Names compared, at most, when looking for the closest: it takes about 0.1 ms each."""


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression whose `fullmatch` tells whether a dotted name fits `pattern`.

    `*` is any run of characters without a dot. `**` as a whole part is zero or more whole parts; beside other
    characters, and in braces, any run of characters. `{a,b}` is one of the alternatives, which may hold `*` and braces
    themselves; `{0-11}` is a whole number from 0 to 11, `{00-11}` one written with two digits. Any other character is
    itself. Raises PatternError when braces do not match or a range runs backwards.
    """
    return re.compile(PatternParser(pattern).whole(), re.DOTALL)


def matching(
    names: Sequence[str], patterns: Iterable[str], modules: Callable[[], Container[str]] = frozenset
) -> set[str]:
    """Those of `names` that fit at least one of `patterns`; a pattern that is itself a name fits that name.

    Raises PatternError for a pattern that fits nothing; the text holds the closest names, or, where it is one of
    `modules`, what to write for all that is in it.
    """
    known = set(names)
    found: set[str] = set()
    for pattern in patterns:
        fits = compile_pattern(pattern).fullmatch if pattern not in known else None
        matched = {pattern} if fits is None else {name for name in names if fits(name)}
        if not matched and pattern in modules():
            raise PatternError(f"`{pattern}` is a module; `{pattern}.**` matches the tensors in it")
        if not matched:
            raise PatternError(f"`{pattern}` matches no name{_across(pattern, names) or suggestion(pattern, names)}")
        found |= matched
    return found


def _across(pattern: str, names: Iterable[str]) -> str:
    """What a star that ends at a dot has left out, as the end of an error's text; empty where that is nothing."""
    wider = _STARS.sub("**", pattern)
    fits = compile_pattern(wider).fullmatch
    found = sum(fits(name) is not None for name in names)
    return f", as `*` ends at a dot; `{wider}` matches {found:,}" if found else ""


def closest(wanted: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` of `names` that look most like `wanted`, best first; names that differ in numbers count as one."""
    import difflib  # no one but a user's mistake needs it

    shapes: dict[str, str] = {}
    own_numbers = _DIGITS.findall(wanted)
    for name in names:
        shape = _DIGITS.sub("0", name) if not name.isalpha() else name
        if shape not in shapes or _DIGITS.findall(name) == own_numbers:
            shapes[shape] = name
        if len(shapes) >= _MOST_SHAPES:
            break
    matches = difflib.get_close_matches(_DIGITS.sub("0", wanted)[:200], shapes, n=count, cutoff=0.6)
    if not matches:
        tail = "." + wanted.rpartition(".")[2]
        matches = [shape for shape in shapes if shape.endswith(tail)][:count]
    return [shapes[match] for match in matches]


def suggestion(wanted: str, names: Iterable[str]) -> str:
    """`closest` as the end of an error's text: "; closest: `a`, `b`", empty where nothing is close."""
    found = closest(wanted, names)
    return f"; closest: {', '.join(f'`{name}`' for name in found)}" if found else ""


class PatternParser:
    """One pass over a pattern, translating as it goes."""

    PARTS = ".*"
    """What `**` becomes where it stands for whole parts."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self._depth = 0

    def whole(self) -> str:
        pieces: list[str] = []
        while self.at < len(self.pattern):
            if self._whole_part_stars():
                self.add_parts(pieces)
            elif self.pattern[self.at] == "}":
                raise self._error(self.at, "`}` closes nothing")
            else:
                pieces.append(self.outermost())
        return "".join(pieces)

    def outermost(self) -> str:
        """The next star, group or character that is in no braces."""
        return self._piece()

    def add_parts(self, pieces: list[str]) -> None:
        """`**` as a whole part, with the dot that goes when it stands for no part at all."""
        self.at += 2
        while re.match(r"\.\*\*(?![^.])", self.pattern[self.at : self.at + 4]):
            self.at += 3  # more of the same: one is enough, and never slow
        if self.pattern.startswith(".", self.at):
            self.at += 1
            pieces.append(rf"(?:{self.PARTS}\.)?")
        elif pieces and pieces[-1] == r"\.":
            pieces[-1] = rf"(?:\.{self.PARTS})?"
        else:
            pieces.append(self.PARTS)

    def _whole_part_stars(self) -> bool:
        if not self.pattern.startswith("**", self.at) or self.pattern[max(self.at - 1, 0) : self.at] not in ("", "."):
            return False
        return self.pattern[self.at + 2 : self.at + 3] in ("", ".")

    def _piece(self) -> str:
        """The next star, group or character."""
        character = self.pattern[self.at]
        if character == "{":
            return self._group()
        if character != "*":
            self.at += 1
            return re.escape(character)
        start = self.at
        while self.pattern.startswith("*", self.at):
            self.at += 1
        return ".*" if self.at - start > 1 else r"[^.]*"

    def _group(self) -> str:
        opened = self.at
        self.at += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error(opened, f"`{{` stands in more than {_DEEPEST} others")
        alternatives: list[str] = []
        while True:
            alternatives.append(self._alternative(opened))
            closing = self.pattern[self.at]
            self.at += 1
            if closing == "}":
                self._depth -= 1
                return f"(?:{'|'.join(alternatives)})"

    def _alternative(self, opened: int) -> str:
        numbers = _RANGE.match(self.pattern, self.at)
        if numbers and self.pattern[numbers.end() : numbers.end() + 1] in (",", "}"):
            self.at = numbers.end()
            return "|".join(self._range(numbers))
        pieces: list[str] = []
        while self.at < len(self.pattern):
            if self.pattern[self.at] in ",}":
                return "".join(pieces)
            pieces.append(self._piece())
        raise self._error(opened, "`{` is never closed")

    def _range(self, numbers: re.Match[str]) -> Iterator[str]:
        low, high = numbers.groups()
        if int(low) > int(high):
            raise self._error(numbers.start(), f"the range `{low}-{high}` runs backwards; write `{high}-{low}`")
        if len(low) > 1 and low.startswith("0"):
            width = max(len(low), len(high))
            low, high = low.zfill(width), high.zfill(width)
        for digits in range(len(low), len(high) + 1):
            first = low if digits == len(low) else "1" + "0" * (digits - 1)
            yield _between(first, high if digits == len(high) else "9" * digits)

    def _error(self, at: int, what: str) -> PatternError:
        return PatternError(f"`{self.pattern}`: {what} (character {at + 1})")


def _between(low: str, high: str) -> str:
    """The regular expression of the numbers from `low` to `high`, both of one length."""
    if low.strip("0") == "" and high.strip("9") == "":
        return f"[0-9]{{{len(low)}}}" if low else ""
    if low[0] == high[0]:
        return low[0] + _between(low[1:], high[1:])
    rest = len(low) - 1
    choices = [low[0] + _between(low[1:], "9" * rest), high[0] + _between("0" * rest, high[1:])]
    if int(high[0]) - int(low[0]) > 1:
        choices.append(f"[{int(low[0]) + 1}-{int(high[0]) - 1}]" + rf"[0-9]{{{rest}}}")
    return f"(?:{'|'.join(choices)})"
