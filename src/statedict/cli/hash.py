"""`statedict hash`: digests of tensors, modules and the whole; a manifest of them, and its comparison."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from statedict.cli import output
from statedict.cli.checkpoint import Checkpoint, opened
from statedict.cli.completing import PATH, tensor_names
from statedict.cli.options import reading_options
from statedict.cli.progress import reading_bar
from statedict.cli.running import running_options
from statedict.cli.targets import require_new
from statedict.views.documents import document, rows_document, schema
from statedict.views.fingerprint import (
    difference_counts,
    difference_fields,
    difference_lines,
    digest_fields,
    digest_lines,
)
from statedict.views.lines import escaped
from statedict.views.numbers import counted

if TYPE_CHECKING:
    from statedict.ops.fingerprint import Fingerprint

_ALGORITHMS = ("blake3", "xxh3", "sha256")


@click.command(short_help="Digests of tensors, modules and the whole; manifests.")
@reading_options
@click.argument("src", type=PATH)
@click.argument("pattern", nargs=-1, shell_complete=tensor_names)
@click.option("--where", metavar="CONDITION", help="Keep those for which it holds: 'ndim == 4 and numel > 1e6'.")
@click.option("--modules", is_flag=True, help="A digest for each module and all in it.")
@click.option("--total", is_flag=True, help="One digest for all.")
@click.option("--manifest", metavar="NEW", help="Write the digests into a new file, to compare with later.")
@click.option("--verify", metavar="MANIFEST", help="Compare with such a file: exit code 1 where anything differs.")
@click.option("--force", is_flag=True, help="Let `--manifest` replace a file.")
@click.option("--algorithm", type=click.Choice(_ALGORITHMS), default=None, help="blake3, unless given.")
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="As many as there are processors, unless given."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@running_options
def command(
    src: str,
    pattern: tuple[str, ...],
    key: str | None,
    strip: bool,
    format: str | None,
    modules: bool,
    total: bool,
    manifest: str | None,
    verify: str | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Say by what digest the tensors of SRC can be told: the same for the same values in any format.

    A digest depends on element type, shape and every bit of the elements; not on the format, the files, the order of
    names, strides or byte order. PATTERN keeps the tensors whose names match. Buffers that `state_dict` leaves out
    are left out.
    """
    asked = [name for name, given in (("modules", modules), ("total", total), ("manifest", manifest)) if given]
    if len(asked) + (verify is not None) > 1:
        raise _wrong(f"`--{asked[0]}` and `--{asked[1] if verify is None else 'verify'}` cannot be had together")
    if verify is not None and (pattern or options["where"] or options["algorithm"]):
        raise _wrong("`--verify` compares all tensors, by the manifest's own hash: leave out what else was chosen")
    checkpoint = opened(src, key, format, strip)
    if verify is not None:
        return _verify(checkpoint, verify, as_json=as_json, threads=options["threads"], executor=options["executor"])
    if manifest is not None:
        require_new(manifest, checkpoint.index.source, force=force)
    found = _found(checkpoint, *pattern, **options)
    if manifest is not None:
        from statedict.manifest import write_manifest

        write_manifest(found, manifest)
    if as_json:
        output.print_text("".join(_document(checkpoint, found, modules=modules, total=total)))
    elif manifest is not None:
        output.print_lines([[(f"{manifest}: ", "bold"), (f"{counted(len(found.prints), 'tensor')} written", "")]])
    elif total:
        output.print_lines([[(found.model, "dim"), (f"  {escaped(src)}", "name")]])
    else:
        output.print_lines(digest_lines(found, modules=modules))
    return 0


def _wrong(text: str) -> click.UsageError:
    return click.UsageError(text, click.get_current_context())


def _found(checkpoint: Checkpoint, *patterns: str, **options: Any) -> "Fingerprint":
    from statedict.ops.fingerprint import fingerprint

    model = checkpoint.model
    given = {name: value for name, value in options.items() if value is not None}
    with reading_bar("Hashing") as progress:
        return fingerprint(model, *patterns, progress=progress, **given)


def _document(checkpoint: Checkpoint, found: "Fingerprint", *, modules: bool, total: bool) -> Iterator[str]:
    source = checkpoint.index.source
    head = {"schema": schema("hash"), "file": source.name, "format": checkpoint.index.format}
    head |= {"algorithm": found.algorithm, "model": found.model}
    if total:
        return iter((document(**head),))
    return rows_document(head, "modules" if modules else "tensors", digest_fields(found, modules=modules))


def _verify(checkpoint: Checkpoint, manifest: str, *, as_json: bool, **how: Any) -> int:
    from statedict.manifest import read_manifest

    known, name = read_manifest(manifest), checkpoint.index.source.name
    found = _found(checkpoint, algorithm=known.algorithm, **how)
    differences = known.differences(found)
    if as_json:
        head = {"schema": schema("verify"), "file": name, "manifest": manifest}
        head |= {"algorithm": known.algorithm, "same": not differences}
        output.print_text("".join(rows_document(head, "differences", map(difference_fields, differences))))
    elif differences:
        counts = difference_counts(differences, len(known.prints))
        output.print_lines([*difference_lines(differences), [(f"{escaped(name)}: {counts}", "bold")]])
    else:
        said = f"{escaped(name)}: all {counted(len(known.prints), 'tensor')} as in {escaped(manifest)}"
        output.print_lines([[(said, "bold")]])
    return 1 if differences else 0
