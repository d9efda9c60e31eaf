"""`statedict check`: what may be wrong with a checkpoint, or with the files of it."""

from typing import TYPE_CHECKING, Any

import click

from statedict.cli import output
from statedict.cli.checkpoint import Checkpoint, limits, opened
from statedict.cli.completing import tensor_names
from statedict.cli.options import checkpoint_options
from statedict.cli.progress import reading_bar
from statedict.cli.running import running_options
from statedict.views.check import finding_fields, report_lines
from statedict.views.documents import rows_document, schema

if TYPE_CHECKING:
    from statedict.ops.check.finding import Report

_LEVELS = ("note", "warning", "error")


@click.command(short_help="What may be wrong: code that would run, NaN, dead channels, ...")
@checkpoint_options
@click.argument("pattern", nargs=-1, shell_complete=tensor_names)
@click.option("--only", metavar="CHECK", multiple=True, help="Look for this alone; may be given several times.")
@click.option("--skip", metavar="CHECK", multiple=True, help="Do not look for this; may be given several times.")
@click.option("--level", type=click.Choice(_LEVELS), default="warning", help="How bad; warning, unless given.")
@click.option("--if-cast", metavar="DTYPE", help="Look for what would overflow or vanish in that type, too: f16.")
@click.option("--manifest", metavar="LIST", help="Compare with digests: of `statedict hash`, or of `sha256sum`.")
@click.option("--signature", metavar="SIG", help="Verify an OpenSSF model signature, by one of the next two.")
@click.option("--public-key", metavar="KEY", help="The file with the key of who signed.")
@click.option("--certificate", metavar="PEM", multiple=True, help="Certificates that are trusted; several times, too.")
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="As many as there are processors, unless given."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, of all findings.")
@click.option("--sarif", "as_sarif", is_flag=True, help="Print the findings as SARIF 2.1.0, for code scanning.")
@running_options
def command(
    file: str,
    pattern: tuple[str, ...],
    key: str | None,
    strip: bool,
    config_kinds: bool,
    format: str | None,
    level: Any,
    as_json: bool,
    as_sarif: bool,
    **options: Any,
) -> int:
    """Say what may be wrong with FILE, or with every file of a folder, and what to do.

    Nothing in it is run. CHECK is code (what loading it would run), structure (parts that contradict each other),
    integrity (checksums, digests, missing shards) or readable; or one of those that read the tensors once: nan,
    infinite, zeros, constant, denormals, dead, equal-rows, impossible, untrained, outlier, ties or overflow. PATTERN
    keeps the tensors whose names match. Exit code 1 where anything is as bad as LEVEL.
    """
    if as_json and as_sarif:
        raise _wrong("`--json` and `--sarif` cannot be had together")
    if (options["signature"] is not None) != (options["public_key"] is not None) + bool(options["certificate"]):
        raise _wrong("`--signature` and one of `--public-key` and `--certificate` belong together")
    checked = _Checked(file, key, format, strip, config_kinds)
    found = checked.report(pattern, **options)
    if as_sarif:
        from statedict.views.sarif import sarif

        output.print_text(sarif(found, checked.name))
    elif as_json:
        head = {"schema": schema("check"), "file": checked.name, "format": checked.format, "tensors": found.tensors}
        head |= {"grade": found.grade} if found.grade is not None else {}
        head |= {"checks": found.checks, **found.counts} | ({"skipped": found.skipped} if found.skipped else {})
        output.print_text("".join(rows_document(head, "findings", finding_fields(found.findings))))
    else:
        output.print_lines(report_lines(checked.name, found, level, output.width()))
    return 1 if found.at_least(level) else 0


def _wrong(text: str) -> click.UsageError:
    return click.UsageError(text, click.get_current_context())


class _Checked:
    """What is checked, and how it is opened where it can be."""

    def __init__(self, file: str, *how: Any) -> None:
        from statedict.source import source_of

        self._file = file
        self._how = how
        self._source = source_of(file)
        self.name = self._source.name
        self.format: str | None = None

    def report(
        self,
        pattern: tuple[str, ...],
        *,
        only: tuple[str, ...],
        skip: tuple[str, ...],
        if_cast: str | None,
        manifest: str | None,
        signature: str | None,
        public_key: str | None,
        certificate: tuple[str, ...],
        **how: Any,
    ) -> "Report":
        """What is found in the files and in the numbers."""
        from statedict import checking
        from statedict.ops.check.files import check_files

        try:
            checks = checking.chosen(only, skip, if_cast)
            checking.cast_target(if_cast)
        except ValueError as error:
            raise _wrong(str(error)) from None
        files = check_files(self._source, checks, limits())
        checkpoint = self._opened(files, checks) if checking.wants_model(checks) or manifest else None
        model = None if checkpoint is None else checkpoint.model
        if manifest is not None:
            files.findings += checking.manifest_findings(self._source, model, manifest, limits())
        if signature is not None:
            from statedict.verifying import signature_findings

            files.findings += signature_findings(self._source, signature, public_key, certificate)
        report = None
        if model is not None and checking.wants_model(checks):
            names = [name for name in checks if name in checking.CHECKS]
            report = self._numbers(model, pattern, only=names, if_cast=if_cast, **how) if names else None
        index = None if checkpoint is None else checkpoint.index
        return checking.joined(files, report, checks, index)

    def _opened(self, files: Any, checks: tuple[str, ...]) -> Checkpoint | None:
        from statedict import checking
        from statedict.errors import FormatError

        try:
            checkpoint = opened(self._file, *self._how)
        except FormatError as error:
            checking.admit(files, self._source, error, checks)
            return None
        self.name, self.format = checkpoint.index.source.name, checkpoint.index.format
        return checkpoint

    def _numbers(self, model: Any, pattern: tuple[str, ...], **options: Any) -> "Report":
        from statedict.checking import check

        with reading_bar("Checking") as progress:
            try:
                return check(model, *pattern, progress=progress, **options)
            except ValueError as error:
                if type(error) is not ValueError:
                    raise
                raise _wrong(str(error)) from None
