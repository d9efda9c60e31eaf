"""Averaging two models, whole process against whole process: `python -m benchmarks.merging [--quick]`.

The peers are PyTorch with safetensors' reader, which maps files into memory, and its writer; and mergekit, where
`--mergekit` names its `mergekit-yaml`. All run in each round, in random order, and find no output there. That ours and
PyTorch's hold the same, but for what PyTorch rounds twice, is proved before anything is measured.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import statedict
from benchmarks.asking import begin, options
from benchmarks.measuring import Contestant, Run, command_of, run
from benchmarks.opening import PYTHON, ROOT
from benchmarks.reporting import Outcome, report
from benchmarks.samples import FULL, QUICK, Sizes, large
from benchmarks.saving import clear, measure

_PROGRAMS = ROOT / "benchmarks" / "contestants"
_LEAST_AHEAD = 2
_BLOCK = 1 << 22


def make(folder: Path, sizes: Sizes) -> tuple[Path, Path]:
    """Two models of different random weights, as folders that mergekit reads, too; made where they are not there."""
    from safetensors.torch import save_file
    from torch import Generator, bfloat16, randn

    files: list[Path] = []
    for seed in range(2):
        file = folder / f"model-{seed}" / "model.safetensors"
        files.append(file)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            generator = Generator().manual_seed(seed)
            tensors = {name: randn(shape, generator=generator, dtype=bfloat16) for name, shape, _ in large(sizes)}
            save_file(tensors, file, {"format": "pt"})
            (file.parent / "config.json").write_text(json.dumps(_config(sizes)))
    return files[0], files[1]


def _config(sizes: Sizes) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.feed_forward,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": sizes.vocabulary,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }


def contestants(output: Path, other: Path, mergekit: Path | None) -> tuple[Contestant, ...]:
    """Those who average a file and `other` into the folder `output`, ours first."""
    programs = (("`statedict.merge`", "statedict_merge.py"), ("`a * 0.5 + b * 0.5` in torch", "torch_merge.py"))
    ours, torch = (
        Contestant(name, (PYTHON, f"{_PROGRAMS}/{program}", str(output), str(other)), is_ours=program[0] == "s")
        for name, program in programs
    )
    if mergekit is None:
        return ours, torch
    recipe = other.parent.parent / "recipe.yaml"
    models = [{"model": str(each), "parameters": {"weight": 0.5}} for each in sorted(recipe.parent.glob("model-*"))]
    recipe.write_text(json.dumps({"merge_method": "linear", "dtype": "bfloat16", "models": models}))
    script = f'"{mergekit}" "{recipe}" "$0/mergekit" && mv "$0"/mergekit/*.safetensors "$0" && rm -r "$0/mergekit"'
    return ours, torch, Contestant("`mergekit-yaml`", ("/bin/sh", "-c", script, str(output)))


def prove(who: Sequence[Contestant], file: Path, output: Path) -> None:
    """Raise ValueError unless ours and PyTorch's tensors are the same to the last bit but one."""
    clear(output)
    for each in who[:2]:
        run(command_of(each, file))
    ours, torch = (statedict.open(output / f"{name}.safetensors").state_dict() for name in ("ours", "torch"))
    if not ours or sorted(ours) != sorted(torch):
        raise ValueError("the two hold different names")
    for name, tensor in ours.items():
        a, b = (each.flatten()[:_BLOCK].numpy().astype(np.float32) for each in (tensor, torch[name]))
        if not np.allclose(a, b, rtol=2**-7, atol=2**-7):
            raise ValueError(f"`{name}` is not the same in both")


def verdict(medians: Sequence[Run]) -> str:
    """What was to be reached, and what was."""
    ours, *peers = medians
    ahead = [peer.seconds / ours.seconds for peer in peers]
    said = ", ".join(f"{times:.1f} times" for times in ahead)
    met = "reached" if min(ahead) >= _LEAST_AHEAD else "missed"
    return f"Goal: {_LEAST_AHEAD} times ahead of each: {said}: {met}.\n"


def main(given: list[str] | None = None) -> None:
    """Measure, and print."""
    parser = options("merging", __doc__, rounds=9)
    parser.add_argument("--mergekit", type=Path, metavar="PROGRAM", help="mergekit's `mergekit-yaml`, to compare with")
    asked = begin(parser, given)
    with tempfile.TemporaryDirectory(prefix="statedict-benchmarks-", dir=asked.keep) as temporary:
        folder, output = (asked.keep or Path(temporary)).resolve(), Path(temporary).resolve() / "output"
        output.mkdir()
        file, other = make(folder, QUICK if asked.quick else FULL)
        who = contestants(output, other, asked.mergekit)
        prove(who, file, output)
        medians = measure(who, file, output, asked.rounds)
        print(report(Outcome("Two models of 2.25 GiB, averaged", who, medians), markdown=asked.markdown))
        print("" if asked.quick else verdict(medians), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
