"""`hash`: digests as lines that other tools can sort and compare, and what differs from a manifest."""

from collections.abc import Iterator, Sequence
from typing import Any

from statedict.ops.fingerprint import Difference, Fingerprint, Print
from statedict.views import numbers
from statedict.views.lines import Line, Style, escaped

_STYLES: dict[str, Style] = {"changed": "number", "missing": "kind", "added": "tied"}


def digest_lines(found: Fingerprint, *, modules: bool) -> Iterator[Line]:
    """A digest, two spaces and a name, for each tensor or each module; "none" where a tensor has no values."""
    if modules:
        for name, digest in found.modules.items():
            yield [(digest, "dim"), ("  ", ""), (escaped(name) or "(all)", "name")]
        return
    for each in found.prints:
        yield [(each.digest or "none", "dim"), ("  ", ""), (escaped(each.name), "name")]


def difference_lines(differences: Sequence[Difference]) -> Iterator[Line]:
    """What happened to each name that differs."""
    for each in differences:
        said = _change(each.before, each.after) if each.before and each.after else ""
        yield [(each.what, _STYLES[each.what]), (f"  {escaped(each.name)}", "name"), (said, "dim")]


def _change(before: Print, after: Print) -> str:
    if before[1:3] == after[1:3]:
        return "  other values"
    return f"  {_facts(before)} became {_facts(after)}"


def _facts(each: Print) -> str:
    return f"{escaped(each.dtype)} {numbers.shape(each.shape)}"


def difference_counts(differences: Sequence[Difference], tensors: int) -> str:
    """How many names differ, in words: "2 changed, 1 missing, 0 added of 38 tensors"."""
    kinds = [each.what for each in differences]
    said = ", ".join(f"{kinds.count(what):,} {what}" for what in _STYLES)
    return f"{said} of {numbers.counted(tensors, 'tensor')}"


def digest_fields(found: Fingerprint, *, modules: bool) -> Iterator[dict[str, Any]]:
    """The same rows as JSON has them."""
    if modules:
        yield from ({"name": name, "digest": digest} for name, digest in found.modules.items())
    else:
        yield from (each.fields() for each in found.prints)


def difference_fields(each: Difference) -> dict[str, Any]:
    """One difference as JSON has it."""
    sides = {"before": each.before, "after": each.after}
    return {"name": each.name, "what": each.what} | {
        side: found.fields() for side, found in sides.items() if found is not None
    }
