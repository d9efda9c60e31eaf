"""What tools that compare checkpoints say of the same pairs, in what time: `python -m benchmarks.diff_tools`.

`--sft` and `--ckptkit` name the programs of PyPI's sft-cli and ckptkit, in environments of their own. In each pair one
tensor, `planted.weight`, was changed in one way, or nothing was. A row holds how each tool ended, and what it says of
that tensor: the line with its name in it, without the name.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.measuring import Contestant, machine, middle, run
from benchmarks.opening import PYTHON
from benchmarks.reporting import Outcome, report

_NAME = "planted.weight"
_SIZE = 512
_DRAWN = re.compile(r"[│┃|▇\s]+")
Tensors = dict[str, torch.Tensor]


def plants() -> dict[str, Callable[[torch.Tensor], Tensors]]:
    """Each way in which the tensor is changed, by what a person calls it."""
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(_SIZE, generator=generator)
    left, right = (torch.randn(shape, generator=generator) for shape in ((_SIZE, 8), (8, _SIZE)))

    def with_element(weight: torch.Tensor, value: float) -> Tensors:
        changed = weight.clone()
        changed[3, 5] = value
        return {_NAME: changed}

    return {
        "nothing": lambda weight: {_NAME: weight},
        "the last bit of one element": lambda weight: with_element(
            weight, torch.nextafter(weight[3, 5], torch.tensor(9.0)).item()
        ),
        "one NaN": lambda weight: with_element(weight, float("nan")),
        "a LoRA of rank 8, merged": lambda weight: {_NAME: weight + left @ right * 1e-3},
        "rounded to bf16, kept as f32": lambda weight: {_NAME: weight.bfloat16().float()},
        "stored as bf16": lambda weight: {_NAME: weight.bfloat16()},
        "half of it pruned": lambda weight: {_NAME: weight * (weight.abs() > weight.abs().median())},
        "times 0.9": lambda weight: {_NAME: weight * 0.9},
        "rows in another order": lambda weight: {_NAME: weight[order]},
        "another name": lambda weight: {"model." + _NAME: weight},
        "8 rows more": lambda weight: {_NAME: torch.cat([weight, weight[:8]])},
    }


def write(folder: Path) -> dict[str, tuple[Path, Path]]:
    """The pairs of files, by what was changed."""
    weight = torch.randn(_SIZE, _SIZE, generator=torch.Generator().manual_seed(0)) * 0.02
    rest = {"other.weight": torch.ones(_SIZE, 16), "bias": torch.zeros(_SIZE)}
    first = folder / "a.safetensors"
    save_file({_NAME: weight, **rest}, first)
    made: dict[str, tuple[Path, Path]] = {}
    for at, (name, plant) in enumerate(plants().items()):
        made[name] = first, folder / f"b{at}.safetensors"
        save_file({**{key: value.contiguous() for key, value in plant(weight).items()}, **rest}, made[name][1])
    return made


def said(command: Sequence[str], pair: tuple[Path, Path]) -> str:
    """How a tool ended, and its line about the planted tensor; what it says of all where there is no such line."""
    done = subprocess.run(
        [*command, *map(str, pair)], capture_output=True, text=True, check=False, env={"COLUMNS": "200", "PATH": "/bin"}
    )
    lines = (_DRAWN.sub(" ", line).strip() for line in (done.stdout + done.stderr).splitlines())
    about = [line.replace(_NAME, "…") for line in lines if "planted" in line]
    return f"{done.returncode}: {'; '.join(about) or 'nothing of it'}"


def main(given: list[str] | None = None) -> None:
    """Compare, and print Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diff_tools", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sft", type=Path, metavar="PROGRAM", help="sft-cli's `sft`")
    parser.add_argument("--ckptkit", type=Path, metavar="PROGRAM", help="ckptkit's `ckptkit`")
    parser.add_argument("--large", nargs=2, type=Path, metavar="FILE", help="two large files to measure on as well")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each on the large files")
    asked = parser.parse_args(given)
    tools = {"statedict diff": (PYTHON, "-m", "statedict", "diff")}
    tools |= {"sft diff --delta": (str(asked.sft), "diff", "--delta")} if asked.sft else {}
    tools |= {"ckptkit diff": (str(asked.ckptkit), "diff")} if asked.ckptkit else {}
    print(f"{machine()}.\n")
    print(f"| changed | {' | '.join(f'`{name}`' for name in tools)} |\n|---|{'---|' * len(tools)}")
    with tempfile.TemporaryDirectory(prefix="statedict-benchmarks-") as folder:
        for name, pair in write(Path(folder)).items():
            print(f"| {name} | {' | '.join(said(command, pair) for command in tools.values())} |", flush=True)
    if asked.large:
        first, second = map(str, asked.large)
        who = [
            Contestant(f"`{name}`", ("/bin/sh", "-c", '"$@"; test $? -lt 2', "sh", *command, first, second))
            for name, command in tools.items()
        ]
        runs = [middle([run(each.command) for _ in range(asked.rounds)]) for each in who]
        title = f"Two models of {asked.large[0].stat().st_size >> 20:,} MiB"
        print("\n" + report(Outcome(title, who, runs), markdown=True))


if __name__ == "__main__":
    main(sys.argv[1:])
