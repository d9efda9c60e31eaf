"""`check`: findings in lots of one kind, each with what to do about it; and as JSON rows."""

from collections.abc import Iterator, Sequence
from typing import Any

from statedict.ops.check.finding import Finding, Report, Severity
from statedict.views import numbers
from statedict.views.documents import plain
from statedict.views.lines import Line, Style, escaped, wrapped

_MOST = 20
"""Findings of one lot that are shown."""
_STYLES: dict[Severity, Style] = {"error": "kind", "warning": "number", "note": "tied"}


def report_lines(name: str, report: Report, level: Severity, width: int | None = None) -> Iterator[Line]:
    """The findings that are as bad as `level`, each lot under its severity and its advice; at the end, the counts."""
    lots: dict[tuple[Severity, str, str], list[Finding]] = {}
    for each in report.at_least(level):
        lots.setdefault((each.severity, each.check, each.advice), []).append(each)
    for (severity, check, advice), findings in lots.items():
        yield from wrapped([(severity, _STYLES[severity]), (f" {check}", "bold"), (f": {advice}", "dim")], width)
        for each in findings[:_MOST]:
            line: Line = [(f"  {escaped(each.where) or '(all)'}", "name"), (f": {escaped(each.what)}", "")]
            yield from wrapped(line, width, "      ")
        if len(findings) > _MOST:
            more = f"  … and {len(findings) - _MOST:,} more; `--json` has them all"
            yield from wrapped([(more, "dim")], width)
    yield from wrapped([(f"{escaped(name)}: {_summary(report, level)}", "bold")], width)
    for reason in report.skipped.values():
        yield from wrapped([(f"left out: {escaped(reason)}", "dim")], width)


def _summary(report: Report, level: Severity) -> str:
    found = [numbers.counted(count, severity) for severity, count in report.counts.items() if count]
    hidden = len(report.findings) - len(report.at_least(level))
    code = f"code {report.grade}, " if report.grade is not None else ""
    files = numbers.counted(report.files, "file") if report.files > 1 or not report.tensors else ""
    tensors = numbers.counted(report.tensors, "tensor") if report.tensors or not report.files else ""
    looked = " and ".join(filter(None, (files, tensors)))
    said = f"{code}{looked} checked, {', '.join(found) or 'nothing found'}"
    return said + ("; `--level note` shows all" if hidden else "")


def finding_fields(findings: Sequence[Finding]) -> Iterator[dict[str, Any]]:
    """The findings as JSON has them."""
    for each in findings:
        yield {
            "check": each.check,
            "severity": each.severity,
            "where": each.where,
            "what": each.what,
            "advice": each.advice,
            "evidence": plain(dict(each.evidence)),
        }
