"""Measures how many tensors are matched right, left open and matched wrong, and writes the tables into `matching.md`.

    python docs/matching.py [FOLDER]

Needs the `dev` extra. `pip install --no-deps --target FOLDER timm torchvision pillow` fills the folder: apart, since
transformers behaves otherwise where they are installed. Without it the rows of their models stay as they are.
All weights are random. What is right is told by values that the matcher is not shown, or by what both models compute.
"""

import contextlib
import io
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import statedict as sd  # noqa: E402  (found by the line above)
from statedict.ops.match.matching import Match, match  # noqa: E402
from tests import architectures, naming_pairs, planted, vision_pairs  # noqa: E402

PAGE = ROOT / "docs" / "matching.md"


@dataclass
class Score:
    """How many tensors were matched, and how."""

    models: int = 0
    right: int = 0
    wrong: int = 0
    left: int = 0

    def add(self, made: Match, source: sd.Module, wanted: dict[str, torch.Tensor]) -> None:
        """Count what a match makes of a source against what it should be."""
        state = made.apply(source).state_dict()
        right = sum(np.array_equal(tensor.numpy(), wanted[name].numpy()) for name, tensor in state.items())
        self.models += 1
        self.right += right
        self.wrong += len(state) - right
        self.left += len(wanted) - len(state)

    def row(self, name: str) -> str:
        """A row of a table."""
        total = max(1, self.right + self.wrong + self.left)
        counts = f"{self.models:,} | {self.right + self.wrong + self.left:,}"
        return f"| {name} | {counts} | {self.right / total:.2%} | {self.left / total:.2%} | {self.wrong / total:.2%} |"


HEAD = ["| {} | models | tensors | right | left open | wrong |", "|---|--:|--:|--:|--:|--:|"]


def main() -> None:
    """Measure, and write the tables."""
    text = PAGE.read_text(encoding="utf-8")
    for name, rows in (("planted", _planted()), ("converted", _converted())):
        text = _written(text, name, rows)
    vision = vision_pairs.vision(sys.argv[1]) if len(sys.argv) > 1 else ()
    for name, pairs in (("pairs", naming_pairs.language()), ("vision", vision)):
        rows = list(_pairs(pairs))
        text = _written(text, name, rows) if len(rows) > len(PAIR_HEAD) else text
    PAGE.write_text(text, encoding="utf-8")


def _written(text: str, name: str, rows: Iterable[str]) -> str:
    block = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
    table = "\n".join(rows) + "\n"
    return block.sub(lambda _: table, text)


def _planted() -> Iterator[str]:
    """A row for each change that is planted into every architecture."""
    names = architectures.names()
    scores = {plant: (Score(), Score()) for plant in planted.PLANTED}
    for name in names:
        wanted = planted.state(name)
        target = sd.open(dict(wanted))
        for plant, change in planted.PLANTED.items():
            given = change(wanted)
            if list(given) == list(wanted) and all(given[key] is wanted[key] for key in wanted):
                continue  # it has none of what would be changed
            source = sd.open(dict(given))
            for score, values in zip(scores[plant], (False, True), strict=True):
                score.add(match(source, target, values=values), source, wanted)
    for title, at in (("by names and shapes", 0), ("by values", 1)):
        yield from (line.format(title) for line in HEAD)
        total = Score()
        for plant, both in scores.items():
            yield both[at].row(plant)
            total = Score(*(a + b for a, b in zip(_counts(total), _counts(both[at]), strict=True)))
        yield total.row("**all**")
        yield ""


def _counts(score: Score) -> tuple[int, int, int, int]:
    return score.models, score.right, score.wrong, score.left


def _converted() -> Iterator[str]:
    """What transformers saves under other names than its modules have, as its own conversions say."""
    scores = Score(), Score()
    for name in architectures.names():
        live: Any = naming_pairs.randomized(architectures.make(name), 3)
        wanted = {key: value for key, value in live.state_dict().items() if isinstance(value, torch.Tensor)}
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            live.save_pretrained(folder)
            source = sd.open(folder)
            known = set(source.state_dict())
            if sum(key not in known for key in wanted) <= len(wanted) // 20:
                continue
            for score, values in zip(scores, (False, True), strict=True):
                score.add(match(source, sd.open(dict(wanted)), values=values), source, wanted)
    yield from (line.format("told by") for line in HEAD)
    yield scores[0].row("names and shapes")
    yield scores[1].row("values")


PAIR_HEAD = ["| from, to | tensors | found | open | outputs |", "|---|--:|--:|--:|---|"]


def _pairs(pairs: Iterable[naming_pairs.Pair]) -> Iterator[str]:
    """Two rows for each pair, there and back."""
    yield from PAIR_HEAD
    for pair in pairs:
        naming_pairs.randomized(pair.source, 1)
        naming_pairs.randomized(pair.target, 2)
        for source, target, name in ((pair.source, pair.target, pair.name), (pair.target, pair.source, "and back")):
            yield _pair(pair, source, target, name + (_held_out(pair) if name == pair.name else ""))


def _held_out(pair: naming_pairs.Pair) -> str:
    if not pair.held_out:
        return ""
    return " (was held out)" if pair.name in vision_pairs.LEARNT_FROM else " (held out)"


def _pair(pair: naming_pairs.Pair, source: Any, target: Any, name: str) -> str:
    made = match(sd.open(source), sd.open(target), values=False)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    state = made.apply(sd.open(source)).state_dict()
    target.load_state_dict({key: tensor.torch() for key, tensor in state.items()}, strict=False)
    ours, theirs = pair.outputs()
    same = torch.allclose(ours, theirs, atol=1e-3, rtol=1e-3)
    target.load_state_dict(before)
    total = len(made.lines) + len(made.missing) + len(made.ambiguous) + len(made.mismatched)
    said = "equal" if same else "not yet: open ones are to be decided" if made.ambiguous else "**different**"
    return f"| {name} | {total:,} | {len(made.lines):,} | {len(made.ambiguous):,} | {said} |"


if __name__ == "__main__":
    main()
