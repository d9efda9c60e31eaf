"""`check`: what may be wrong with a checkpoint, part by part."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from statedict.dtypes import DType, dtype
from statedict.errors import FormatError, UnknownFormatError
from statedict.formats import is_called_so
from statedict.limits import DEFAULT_LIMITS, Limits
from statedict.ops.check.files import FILE_CHECKS, Files, check_files, index_findings, unreadable
from statedict.ops.check.finding import Finding, Report, worst_first
from statedict.ops.check.numbers import CHECKS, check_numbers
from statedict.ops.patterns import suggestion
from statedict.ops.select import selected
from statedict.source import Folder, Source, source_of
from statedict.tree.module import Module

if TYPE_CHECKING:
    from statedict.index import Index
    from statedict.opening import Checkpoint

ALL_CHECKS = (*FILE_CHECKS, *CHECKS)
"""What is looked for, by name: in files, then in numbers."""


def check(
    x: "Module | Checkpoint",
    /,
    *patterns: str,
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    if_cast: DType | str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    manifest: str | os.PathLike[str] | None = None,
    **how: Any,
) -> Report:
    """What may be wrong with a model, or with the checkpoint, file or folder at a path; the worst first.

    Each finding says where, what, how bad ("note", "warning", "error") and what to do. Of a path, its files are looked
    at: what loading them would run, whether they are laid out as they should be, their checksums, and where `manifest`
    names one, the digests that were written down. Of a model, and of a path's, every tensor is read once, by `threads`
    or on an `executor`; `progress` is told, as in `stats`. `patterns` choose tensors. `only` and `skip` are names of
    checks: docs/commands/check.md has the table. `if_cast` asks what another element type would lose.

    Raises ValueError for a name that is no check, for `overflow` without `if_cast`, and for a type that is not floating
    point; PatternError as `select` does; ReadError where a file cannot be read, UnknownFormatError for one that is no
    checkpoint and has nothing in it that is found. A damaged file is a finding, and no error.
    """
    checks = chosen(tuple(only), tuple(skip), if_cast)
    target = cast_target(if_cast)
    if isinstance(x, Module):
        return _of_numbers(x, patterns, checks, target, **how)
    source = source_of(x)
    files = check_files(source, checks, limits)
    model, index = None, None
    if wants_model(checks):
        try:
            model, index = _opened(source, limits)
        except FormatError as error:
            admit(files, source, error, checks)
    if manifest is not None:
        files.findings += manifest_findings(source, model, manifest, limits)
    report = None if model is None else _of_numbers(model, patterns, checks, target, **how)
    return joined(files, report, checks, index)


def wants_model(checks: Iterable[str]) -> bool:
    """Whether what is asked needs the file to be opened as a checkpoint."""
    return any(name not in FILE_CHECKS[:-1] for name in checks)


def admit(files: Files, source: Source, error: FormatError, checks: Iterable[str]) -> None:
    """Turn what opening a file raised into a finding. Raises it again where the file is simply no checkpoint."""
    unknown = isinstance(error, UnknownFormatError) and not is_called_so(source.name)
    other = isinstance(source, Folder) and files.files
    if unknown and not other and not files.findings and not files.pickles:
        raise error
    told = any(each.check == "readable" for each in files.findings)
    if not unknown and not told and "readable" in checks:
        files.findings.append(unreadable(source, error))
    else:
        files.skipped[source.name] = str(error)


def joined(files: Files, report: Report | None, checks: tuple[str, ...], index: "Index | None" = None) -> Report:
    """One report of what was found in files and in numbers."""
    found = [*files.findings, *(index_findings(index, checks) if index is not None else ())]
    numbers = report.findings if report is not None else ()
    skipped = {**files.skipped, **(report.skipped if report is not None else {})}
    tensors = report.tensors if report is not None else 0
    return Report(worst_first([*found, *numbers]), checks, tensors, skipped, files.grade, files.files, files.pickles)


def manifest_findings(
    source: Source, model: Module | None, manifest: str | os.PathLike[str], limits: Limits
) -> list[Finding]:
    """What differs from the digests that somebody wrote down: of tensors (`statedict hash`), or of files (`sha256sum`).

    Raises FormatError where the manifest is neither, ReadError where it cannot be read.
    """
    from statedict.verifying import verified

    return list(verified(source, model, manifest, limits))


def _opened(source: Source, limits: Limits) -> "tuple[Module, Index]":
    from statedict.opening import read_index
    from statedict.tree.build import build

    index = read_index(source, limits=limits)
    return build(index), index


def _of_numbers(
    model: Module, patterns: tuple[str, ...], checks: tuple[str, ...], target: DType | None, **how: Any
) -> Report:
    names = tuple(name for name in checks if name in CHECKS)
    return check_numbers(model, selected(model, patterns), names, target, **how)


def cast_target(if_cast: DType | str | None) -> DType | None:
    """The element type that `if_cast` names. Raises ValueError where it is not floating point."""
    target = dtype(if_cast) if isinstance(if_cast, str) else if_cast
    if target is not None and (not target.is_floating_point or target.bits < 8):
        raise ValueError(f"`{target}` is no floating-point type of at least 8 bits; expected one such as `f16`")
    return target


def chosen(only: tuple[str, ...], skip: tuple[str, ...], if_cast: object) -> tuple[str, ...]:
    """The names of the checks that are made. Raises ValueError for one that there is not."""
    for name in (*only, *skip):
        if name not in ALL_CHECKS:
            raise ValueError(f"`{name}` is no check{suggestion(name, ALL_CHECKS)}; there are {', '.join(ALL_CHECKS)}")
    if "overflow" in only and if_cast is None:
        raise ValueError("`overflow` asks what a cast would lose: name the type with `if_cast` (`--if-cast f16`)")
    left_out = skip if if_cast is not None else (*skip, "overflow")
    return tuple(name for name in ALL_CHECKS if (not only or name in only) and name not in left_out)
