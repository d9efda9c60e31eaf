"""`statedict convert`: a checkpoint in another format, element type or number of files."""

from typing import Any

import click

from statedict.cli.checkpoint import opened, reading_options
from statedict.cli.targets import require_new, write
from statedict.editing import type_named
from statedict.index import shown
from statedict.ops.cast import cast, scaled
from statedict.views.numbers import counted


@click.command(short_help="The same in another format, element type or number of files.")
@reading_options
@click.argument("src")
@click.argument("dst")
@click.option("--dtype", metavar="NAME", help="Cast all floating point tensors: bf16, f16, f32, ...")
@click.option(
    "--overflow",
    type=click.Choice(["torch", "saturate", "error"]),
    default="torch",
    help="What becomes of a number beyond the largest: as PyTorch has it, the largest, or an error.",
)
@click.option(
    "--to", metavar="NAME", help="Write this format, not that of the suffix: safetensors, torch, npz, gguf, dcp."
)
@click.option("--shard-size", metavar="SIZE", help="Write a folder of files of at most so many bytes: 5GB.")
@click.option("--verify", is_flag=True, help="Read what was written back, and compare.")
@click.option("--no-sync", is_flag=True, help="Do not wait until the disk has it, as cp does not.")
@click.option("--force", is_flag=True, help="Replace what is at DST.")
def command(
    src: str,
    dst: str,
    key: str | None,
    strip: bool,
    format: str | None,
    dtype: str | None,
    overflow: Any,
    to: str | None,
    shard_size: str | None,
    verify: bool,
    no_sync: bool,
    force: bool,
) -> None:
    """Write the checkpoint SRC to DST, block by block: nothing in SRC is run, and memory does not grow with it.

    DST's suffix tells the format: .safetensors, .pt, .npz, .gguf. A name without a suffix becomes a folder of
    safetensors that transformers loads; if SRC is a folder too, its other files are copied along, and config.json
    tells the new element type.
    """
    checkpoint = opened(src, key, format, strip)
    source = checkpoint.index.source
    target = None if dtype is None else type_named(dtype)
    require_new(dst, source, force=force)
    model, notes = checkpoint.model, list[str]()
    if target is not None:
        if names := scaled(model):
            notes = [f"{counted(len(names), 'tensor')} cast without the scale beside it, such as `{shown(names[0])}`"]
        model = cast(model, target, overflow)
    write(
        model,
        dst,
        "converting",
        source=source,
        format=to,
        shard_size=shard_size,
        verify=verify,
        durable=not no_sync,
        dtype=target,
        notes=notes,
    )
