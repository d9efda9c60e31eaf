"""`statedict convert`: a checkpoint in another format, element type or number of files."""

from concurrent.futures import Executor
from typing import Any

import click

from statedict.cli.checkpoint import Checkpoint
from statedict.cli.completing import PATH
from statedict.cli.options import of_source
from statedict.cli.running import running_and_json_options
from statedict.cli.targets import overflow_option, require_new, write, writing_options
from statedict.editing import type_named
from statedict.index import shown
from statedict.ops.cast import cast, scaled
from statedict.views.numbers import counted


@click.command(short_help="The same in another format, element type or number of files.")
@of_source
@click.argument("dst", type=PATH)
@click.option("--dtype", metavar="NAME", help="Cast all floating point tensors: bf16, f16, f32, ...")
@overflow_option
@writing_options
@click.option("--no-sync", is_flag=True, help="Do not wait until the disk has it, as cp does not.")
@running_and_json_options
def command(
    checkpoint: Checkpoint,
    dst: str,
    dtype: str | None,
    overflow: Any,
    to: str | None,
    shard_size: str | None,
    verify: bool,
    no_sync: bool,
    force: bool,
    executor: Executor | None,
) -> None:
    """Write the checkpoint SRC to DST, block by block: nothing in SRC is run, and memory does not grow with it.

    DST's suffix tells the format: .safetensors, .pt, .npz, .gguf. A name without a suffix becomes a folder of
    safetensors that transformers loads; if SRC is a folder too, its other files are copied along, and config.json
    tells the new element type.
    """
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
        executor=executor,
        dtype=target,
        notes=notes,
    )
