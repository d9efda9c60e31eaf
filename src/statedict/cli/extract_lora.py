"""`statedict extract-lora`: what training changed, as an adapter of low rank."""

import json
from typing import TYPE_CHECKING, Any

import click

from statedict.adapters import save_adapter
from statedict.cli import output
from statedict.cli.checkpoint import opened
from statedict.cli.completing import PATH
from statedict.cli.progress import progress_bar
from statedict.cli.targets import require_new
from statedict.ops.lora.extraction import METADATA, extract_lora
from statedict.views.documents import document, schema
from statedict.views.lines import Line
from statedict.views.numbers import counted
from statedict.views.saved import energy_table, saved_lines

if TYPE_CHECKING:
    from statedict.writing import Progress

_FEW = 3


@click.command(short_help="What training changed, as a LoRA adapter that PEFT loads.")
@click.argument("tuned", type=PATH)
@click.argument("base", type=PATH)
@click.argument("target", metavar="DST", type=PATH)
@click.option("--rank", "-r", type=int, default=16, show_default=True, help="How many rows and columns it keeps.")
@click.option("--only", metavar="PATTERN", multiple=True, help="Leave out weights whose names fit none of these.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random directions that it starts from.")
@click.option("--key", metavar="NAME", help="Take only this part of both: a module, by its name.")
@click.option("--force", is_flag=True, help="Replace what is at DST.")
@click.option("--verify", is_flag=True, help="Read what was written back, and compare.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    tuned: str, base: str, target: str, rank: int, only: tuple[str, ...], seed: int, key: str | None, force: bool,
    verify: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write the LoRA adapter that brings BASE closest to TUNED to the folder DST.

    Of each matrix that differs, the best approximation of that rank. Prints which share of the change (of the sum of
    its squares) is kept of each. What differs and is no matrix is left out.
    """
    require_new(target, None, force=force)
    after, before = opened(tuned, key, None).model, opened(base, key, None).model
    with progress_bar("comparing") as bar:
        adapter = extract_lora(after, before, rank, only, seed=seed, progress=None if bar is None else _Told(bar))
    with progress_bar("writing") as progress:
        saved = save_adapter(adapter, target, verify=verify, progress=progress)
    said = json.loads(adapter.metadata[METADATA])
    if as_json:
        output.print_text(
            document(
                schema=schema("extract-lora"), path=str(saved.path), files=saved.files, nbytes=saved.nbytes, **said
            )
        )
        return
    output.print_lines(energy_table(said["energy"], output.width()))
    lines = saved_lines(saved, f"adapter of rank {rank} for {counted(len(said['energy']), 'module')}")
    output.print_lines([*lines, *_left_out(said)])


class _Told:
    """A bar as what is told how much is done, and of how much."""

    def __init__(self, bar: "Progress") -> None:
        self._bar = bar
        self._done = 0

    def __call__(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.advance(done - self._done)
        self._done = done


def _left_out(said: dict[str, Any]) -> list[Line]:
    names = said["left_out"]
    if not names:
        return []
    few = ", ".join(f"`{name}`" for name in names[:_FEW]) + ", …" * (len(names) > _FEW)
    noun = (
        "tensor that differs and is no matrix is" if len(names) == 1 else "tensors that differ and are no matrices are"
    )
    return [[("note: ", "dim"), (f"{len(names):,} {noun} left out: {few}", "")]]
