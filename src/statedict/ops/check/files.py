"""The parts of `check` that look at files, not at numbers: what loading would run, layouts, checksums."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from statedict.errors import FormatError, LimitError, ReadError, StatedictError, UnknownFormatError
from statedict.formats import is_called_so, read
from statedict.index import Index, shown
from statedict.limits import Limits
from statedict.ops.check.code.act import Act, Grade, worst
from statedict.ops.check.code.places import look
from statedict.ops.check.finding import Finding, Severity
from statedict.ops.check.integrity import checksums, sets
from statedict.ops.check.structure import archives, layouts
from statedict.ops.check.structure.odd import odd
from statedict.source import FileSource, Folder, Source

CODE, STRUCTURE, INTEGRITY, READABLE = "code", "structure", "integrity", "readable"
FILE_CHECKS = (CODE, STRUCTURE, INTEGRITY, READABLE)
"""What is looked for in files, by name."""
_SEVERITIES: dict[Grade, Severity] = {"dangerous": "error", "unknown": "warning", "safe": "note"}
_DANGEROUS = "do not load it with torch, pickle or numpy: open it with statedict, which runs nothing, and convert it"
_UNKNOWN = "load it only where you trust who made it; statedict opens it without running anything"
_DEEPEST_FOLDERS = 16
_MOST_FILES = 100_000


@dataclass
class Files:
    """What was found in files."""

    findings: list[Finding] = field(default_factory=list[Finding])
    grade: Grade | None = None
    """The worst that loading would do; None where that was not asked."""
    files: int = 0
    pickles: int = 0
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    """What could not be looked at as a checkpoint, and why."""


def check_files(source: Source, checks: Iterable[str], limits: Limits) -> Files:
    """What is found in a file, or in every file of a folder. Raises ReadError where one cannot be read."""
    chosen = frozenset(checks)
    found = Files(grade="safe" if CODE in chosen else None)
    for each, where in _files(source, found):
        found.files += 1
        if CODE in chosen:
            _code(each, where, found, limits)
        if STRUCTURE in chosen:
            _gather(found, STRUCTURE, where, _structure(each, where, limits))
        if READABLE in chosen and each is not source:
            found.findings += _unreadable(each, limits)
        if INTEGRITY in chosen:
            _gather(found, INTEGRITY, where, checksums.zip_checksums(each, where, limits))
    if INTEGRITY in chosen and isinstance(source, Folder):
        _gather(found, INTEGRITY, source.name, sets.set_findings(source, limits))
    return found


def index_findings(index: Index, checks: Iterable[str]) -> list[Finding]:
    """What an opened file's description tells of its layout."""
    return list(layouts.index_oddities(index, index.source.name)) if STRUCTURE in checks else []


def unreadable(source: Source, error: FormatError) -> Finding:
    """That statedict itself cannot read the file, with the reason."""
    what = said(error, source.name)
    return Finding(
        READABLE, source.name, "error", what, "fetch or save it again; a sound file is read", {"kind": "unreadable"}
    )


def said(error: StatedictError, where: str) -> str:
    """An error's text without the place that it begins with, which is told apart."""
    return str(error).removeprefix(str(StatedictError(f"{where}: ")))


def _unreadable(source: Source, limits: Limits) -> Iterator[Finding]:
    """That one file of a folder, called as checkpoints are, cannot be read."""
    if not is_called_so(source.name) or source.name.endswith(".json"):
        return
    try:
        read(source, limits)
    except UnknownFormatError:
        return  # a suffix such as .bin is of much else, too
    except FormatError as error:
        yield unreadable(source, error)
    except StatedictError:
        return  # a library that is not installed, for example


def _code(source: Source, where: str, found: Files, limits: Limits) -> None:
    code = look(source, limits, where, where)
    found.pickles += code.pickles
    found.grade = worst([found.grade or "safe", code.grade])
    found.findings += [_of_act(act) for act in code.acts]


def _of_act(act: Act) -> Finding:
    times = f" ({act.count:,} times)" if act.count > 1 else ""
    advice = _DANGEROUS if act.grade == "dangerous" else _UNKNOWN
    evidence = {"grade": act.grade, "expression": act.expression, "reason": act.reason, "count": act.count}
    if act.at is not None:
        evidence["at"] = act.at
    what = f"{act.expression}{times} {act.reason}".strip()
    return Finding(CODE, act.where, _SEVERITIES[act.grade], what, advice, evidence)


def _structure(source: Source, where: str, limits: Limits) -> Iterator[Finding]:
    yield from archives.zip_oddities(source, where, limits)
    yield from archives.tar_oddities(source, where, limits)
    yield from layouts.safetensors_oddities(source, where)


def _gather(found: Files, check: str, where: str, findings: Iterator[Finding]) -> None:
    """Add findings, and that there may be more where what is looked into is too damaged, or a bomb."""
    try:
        found.findings.extend(findings)
    except LimitError as error:
        what = said(error, where)
        found.findings.append(odd("limit", where, "error", what, "do not unpack it: it fills disk and memory"))
    except FormatError as error:
        what = f"cannot be looked through: {said(error, where)}"
        found.findings.append(Finding(check, where, "error", what, "fetch or save it again", {"kind": "damaged"}))


def _files(source: Source, found: Files) -> Iterator[tuple[Source, str]]:
    if not isinstance(source, Folder):
        yield source, source.name
        return
    for path in _walked(source.path, found):
        try:
            yield FileSource(path), os.fspath(path)
        except ReadError as error:
            what = said(error, os.fspath(path))
            found.findings.append(Finding(READABLE, os.fspath(path), "warning", what, "see who may read it"))


def _walked(root: Path, found: Files) -> Iterator[Path]:
    """The plain files of a folder and of those in it, in order; no link to a folder is followed, no device opened."""
    stack: list[tuple[Path, int]] = [(root, 0)]
    count = 0
    while stack:
        folder, depth = stack.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            what = f"cannot be opened: {(error.strerror or '').lower()}"
            found.findings.append(Finding(READABLE, os.fspath(folder), "warning", what, "see who may read it"))
            continue
        for entry in reversed(entries):
            if entry.is_dir(follow_symlinks=False) and depth < _DEEPEST_FOLDERS and entry.name != ".git":
                stack.append((Path(entry.path), depth + 1))
        for entry in entries:
            if entry.is_file() and count < _MOST_FILES:
                count += 1
                yield Path(entry.path)
            elif entry.is_symlink():
                what = f"is a link to `{shown(os.fspath(Path(entry.path).readlink()))}`, which is not there or no file"
                found.findings.append(odd("link", entry.path, "note", what, "nothing is read through it"))
