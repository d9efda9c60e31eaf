"""One thing that is odd about how a file is laid out, and what it means."""

from collections.abc import Mapping
from typing import Any

from statedict.index import EMPTY
from statedict.ops.check.finding import Finding, Severity

NAME = "structure"
_READERS = "readers differ in what they see here: do not trust what any one of them shows"
_DAMAGED = "fetch or save it again"
_HIDING = "nothing reads these bytes: they may be left over, or hidden there"
_ESCAPES = "do not unpack it: its members would be written elsewhere"
ADVICE = {"readers": _READERS, "damaged": _DAMAGED, "hiding": _HIDING, "escapes": _ESCAPES}


def odd(
    kind: str, where: str, severity: Severity, what: str, advice: str, evidence: Mapping[str, Any] = EMPTY
) -> Finding:
    """The finding. `kind` is one word for programs; `advice` a key of `ADVICE`, or a text."""
    return Finding(NAME, where, severity, what, ADVICE.get(advice, advice), {"kind": kind, **evidence})
