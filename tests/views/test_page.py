"""The columns of a page: every module and tensor in the order of the tree, and what looks the same."""

from pathlib import Path

import numpy as np
import pytest

import statedict as sd
from statedict.tree.module import Module
from statedict.views.page import FIGURES, NamedModule, Page, figure_columns, head_fields, page
from tests.sample_checkpoints import write_all


def name(made: Page, at: int) -> str:
    """A full name put together from the columns alone, as the browser does."""
    parts: list[str] = []
    depth = made.depth[at]
    for before in range(at, -1, -1):
        if made.depth[before] == depth and depth:
            parts.append(made.labels[made.label[before]])
            depth -= 1
    return ".".join(reversed(parts))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    write_all(folder)
    return folder


@pytest.mark.parametrize(
    "file", ["net.pt", "language_whole.pt", "train.ckpt", "lstm.pt", "hostile.pt", "no_tensors.pt"]
)
def test_every_entry_has_its_name(folder: Path, file: str) -> None:
    model = sd.open(folder / file)
    made = page(model)
    tensors = {at: entry.name for at, entry in made.tensors()}
    assert list(tensors.values()) == list(sd.select(model)) or file == "hostile.pt"
    assert [name(made, at) for at in tensors] == list(tensors.values())
    modules = {at: member.name for at, member in enumerate(made.members) if isinstance(member, NamedModule)}
    assert [name(made, at) for at in modules] == list(modules.values())
    assert len({*tensors, *modules}) == len(made.members)


def test_what_looks_the_same_has_one_number(folder: Path) -> None:
    made = page(sd.open(folder / "language_whole.pt"))
    look = {name(made, at): made.look[at] for at in range(len(made.depth))}
    assert look["layers.0"] == look["layers.1"] == look["layers.2"] != look["layers.3"]
    assert look["layers.0.attention.query"] == look["layers.0.attention.key"] != look["layers.0.mlp.0"]


def test_tied_tensors_and_shared_modules_point_to_the_first() -> None:
    model = Module()
    model.first = Module()
    model.first.weight = sd.Parameter(np.ones((2, 2)))
    model.second = model.first
    model.third = Module()
    model.third.weight = model.first.weight
    made = page(model)
    names = [name(made, at) for at in range(len(made.depth))]
    assert names == ["", "first", "first.weight", "second", "third", "third.weight"]
    assert {names[at]: names[first] for at, first in made.same.items()} == {
        "second": "first",
        "third.weight": "first.weight",
    }
    head = head_fields(made, "a", "b", 3)
    assert (head["tensors"], head["modules"], head["nbytes"]) == (1, 3, 32)


def test_a_module_inside_itself_ends() -> None:
    model = Module()
    model.inner = Module()
    model.inner.outer = model
    assert [name(page(model), at) for at in range(3)] == ["", "inner", "inner.outer"]


def test_a_tree_of_ten_thousand_levels() -> None:
    deep = Module()
    root = deep
    for _ in range(10_000):
        deep.a = Module()
        deep = deep.a
    made = page(root)
    assert made.depth[-1] == 10_000


def test_figures_stand_beside_the_first_name() -> None:
    model = sd.open({"a": np.ones(2), "b": np.zeros(3)})
    made = page(model)
    row = (1.0,) * len(FIGURES)
    assert figure_columns(made, {"b": row}) == {"at": [2], **{figure: [1.0] for figure in FIGURES}}
