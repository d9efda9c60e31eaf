"""Measures how others tell what the modules of a file are, beside statedict, and writes the table into `inference.md`.

    python docs/beside.py FOLDER

Needs the `dev` extra. FOLDER is one that `pip install --no-deps --target FOLDER checkpoint-lens==0.1.2
safetensors-arch==0.3.0` has filled. The files are the tiny models of transformers, as torch and safetensors save them.
"""

import importlib
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_model
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import statedict as sd  # noqa: E402  (found by the line above)
from tests import architectures  # noqa: E402
from tests.kinds import truth  # noqa: E402

PAGE = ROOT / "docs" / "inference.md"
BESIDE = re.compile(r"(?<=<!-- beside -->\n).*?(?=<!-- end of beside -->)", re.DOTALL)
Kinds = dict[str, str | None]


def main() -> None:
    """Ask each of every file, and write the table."""
    sys.path.append(sys.argv[1])
    ours, lens, named, files = Counter[str](), Counter[str](), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for name in architectures.names():
            live, path = architectures.make(name), Path(folder) / "model.pt"
            torch.save(live.state_dict(), path)
            save_model(live, str(path.with_suffix(".safetensors")))
            files += 1
            ours += _judged(live, {at: module.kind for at, module in sd.open(path).named_modules()})
            lens += _judged(live, _by_lens(path))
            named += _by_arch(path.with_suffix(".safetensors")) != "unknown"
    rows = [
        "| | right | unknown | wrong |",
        "|---|--:|--:|--:|",
        _row("statedict", ours),
        _row("checkpoint-lens 0.1.2", lens),
        f"\nsafetensors-arch 0.3.0 gives {named} of the {files} files a name; it names no modules.\n",
    ]
    PAGE.write_text(BESIDE.sub("\n".join(rows), PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def _holders(live: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules with tensors in a state dict."""
    state: dict[str, Any] = live.state_dict()
    names = dict.fromkeys(name.rpartition(".")[0] for name in state)
    return ((name, live.get_submodule(name)) for name in names)


def _judged(live: nn.Module, answers: Kinds) -> Counter[str]:
    """Right, unknown and wrong answers. A family, as `BatchNorm`, is no answer; a name where none fits is wrong."""
    found = Counter[str]()
    for name, module in _holders(live):
        right, answer = truth(module), answers.get(name)
        answer = None if answer in {"BatchNorm", "InstanceNorm", "Norm"} else answer
        if answer == right:
            found["right" if right else "nameless"] += 1
        else:
            found["unknown" if answer is None else "wrong"] += 1
    return found


def _by_lens(path: Path) -> Kinds:
    """The layers that checkpoint-lens lists, by name; what it says of norms names no class."""
    report: Any = importlib.import_module("checkpoint_lens.report")
    found: Kinds = {}
    for network in report.inspect_checkpoint(str(path), attempt_reconstruction=False).networks:
        for layer in network.arch.layers:
            found[layer.name] = "Norm" if layer.layer_type.startswith("Norm") else layer.layer_type
    return found


def _by_arch(path: Path) -> str:
    library: Any = importlib.import_module("safetensors_arch")
    return str(library.detect(str(path))[0])


def _row(name: str, found: Counter[str]) -> str:
    whole = found.total()
    return f"| {name} | " + " | ".join(f"{found[each] / whole:.2%}" for each in ("right", "unknown", "wrong")) + " |"


if __name__ == "__main__":
    main()
