"""Findings as SARIF 2.1.0 (OASIS), the form in which code-scanning services take what tools find."""

import json
from collections.abc import Iterator
from typing import Any

from statedict._version import __version__
from statedict.ops.check.finding import Finding, Report
from statedict.views.documents import plain

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_RULES = {
    "code": "Loading the file would run this",
    "structure": "Parts of the file contradict each other",
    "integrity": "The bytes are not those that were written",
    "readable": "The file cannot be read",
}


def sarif(report: Report, file: str) -> str:
    """The report on a file or folder as one SARIF document, with a run of one tool."""
    checks = list(dict.fromkeys(each.check for each in report.findings))
    rules = [{"id": check, "shortDescription": {"text": _RULES.get(check, f"Numbers: {check}")}} for check in checks]
    tool = {"driver": {"name": "statedict", "version": __version__, "rules": rules}}
    results = [_result(each, checks.index(each.check), file) for each in report.findings]
    run: dict[str, Any] = {"tool": tool, "columnKind": "utf16CodeUnits", "results": results}
    if report.grade is not None:
        run["properties"] = {"grade": report.grade, "tensors": report.tensors, "files": report.files}
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, allow_nan=False, indent=2) + "\n"


def _result(finding: Finding, rule: int, file: str) -> dict[str, Any]:
    return {
        "ruleId": finding.check,
        "ruleIndex": rule,
        "level": finding.severity,
        "message": {"text": f"{finding.where}: {finding.what}. {finding.advice[:1].upper()}{finding.advice[1:]}."},
        "locations": list(_locations(finding, file)),
        "properties": {"evidence": plain(dict(finding.evidence))},
    }


def _locations(finding: Finding, file: str) -> Iterator[dict[str, Any]]:
    """The file, with the byte where that is known; what in it is meant is told as a logical place."""
    inside = finding.where
    if finding.check in _RULES:
        file, _, inside = finding.where.partition(": ")
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": _uri(file)}}}
    at = finding.evidence.get("at")
    if isinstance(at, int) and not inside:
        location["physicalLocation"]["region"] = {"byteOffset": at, "byteLength": 1}
    if inside:
        location["logicalLocations"] = [{"fullyQualifiedName": inside}]
    yield location


def _uri(path: str) -> str:
    """A path as a URI reference: relative where it is."""
    from urllib.parse import quote

    return quote(path, safe="/:", errors="surrogatepass")
