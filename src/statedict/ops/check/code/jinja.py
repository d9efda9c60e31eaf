"""Chat templates: what one that is rendered outside of a sandbox could reach.

A template is text for Jinja, which evaluates expressions of Python's. Those of chat templates name messages, roles and
tools; what climbs from there to Python's own insides does so by names that begin with two underscores, written out, put
together of pieces, or taken by the filter `attr` (CVE-2024-34359).
"""

import re
from collections.abc import Iterator

from statedict.ops.check.code.act import Act, Grade

_OPENS = re.compile(r"\{[{%]")
_TEXT = re.compile(r"'(?:[^'\\]|\\.|\\\Z)*+(?:'|\Z)|\"(?:[^\"\\]|\\.|\\\Z)*+(?:\"|\Z)", re.DOTALL)
"""A text in quotes; one that is not closed reaches to the end, so that nothing is gone over again for each quote."""
_JOINED = re.compile(r"(['\"])\s{0,9}[~+]?\s{0,9}(['\"])")
_DUNDER = re.compile(r"__[a-zA-Z]\w*__")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3})")
_ATTR = re.compile(r"\|\s*(attr|map\s*\(\s*attribute)\b")
_PIECES = re.compile(r"\|\s*(format|replace|reverse|join|urlize|b64decode|xmlattr)\b|\[\s*\w+\s*[~+]")
_TAGS = re.compile(r"(?:[-+]\s*)?(include|import|from|extends)\b")
_NAMES = re.compile(r"(?<![\w.'\"\[])(lipsum|cycler|joiner|self|request|config|url_for|get_flashed_messages)\s*[.\[|]")
_CALLS = re.compile(r"\.\s*(popen|system|subclasses|mro|import_module|check_output|Popen|eval|exec|builtins|globals)\b")
_LONGEST = 16 << 20


def acts(template: str, where: str) -> Iterator[Act]:
    """What a template would reach for."""
    if len(template) > _LONGEST:
        yield Act("unknown", where, "", f"is a template of {len(template):,} characters, which is not looked into")
        return
    for at, block in _blocks(template):
        if (found := _reached(block[2:-2], is_tag=block[1] == "%")) is not None:
            grade, reason = found
            yield Act(grade, where, " ".join(block[:2000].split())[:200], reason, at)


def _blocks(template: str) -> Iterator[tuple[int, str]]:
    """The expressions and statements of a template, with their brackets, and where they begin."""
    at = 0
    while (opens := _OPENS.search(template, at)) is not None:
        begin = opens.start()
        close = "}}" if opens[0] == "{{" else "%}"
        end = template.find(close, begin + 2)
        if end < 0:  # what is never closed is looked at as one
            yield begin, template[begin:] + close
            return
        yield begin, template[begin : end + 2]
        at = end + 2


def _reached(inside: str, *, is_tag: bool) -> tuple[Grade, str] | None:
    plain = _ESCAPE.sub(_unescaped, inside)
    joined = _JOINED.sub("", plain)
    if dunder := _DUNDER.search(plain) or _DUNDER.search(joined):
        return "dangerous", f"reaches for `{dunder[0]}`, by which Python's own functions can be called"
    if _CALLS.search(joined):
        return "dangerous", "calls what runs programs or code"
    attribute = _ATTR.search(plain)
    if attribute and attribute[1] == "attr":
        outside = _TEXT.sub("''", plain)
        computed = _PIECES.search(plain) or re.search(r"\|\s*attr\s*\(\s*[^'\"\s]", outside)
        if computed:
            return "dangerous", "takes an attribute whose name it puts together"
        return "unknown", "takes an attribute by the filter `attr`, which chat templates have no need of"
    if is_tag and _TAGS.match(inside.lstrip()):
        return "unknown", "reads another template"
    if name := _NAMES.search(plain):
        return "unknown", f"uses `{name[1]}`, which is no part of a chat"
    return None


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    number = int(code[1:], 16) if code[0] in "xuU" else int(code, 8)
    return chr(number) if number < 0x110000 else found[0]
