"""What headers tell: names that come, go and move, shapes, types, ties; what is said of modules and of the whole."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import statedict as sd
from statedict.errors import PatternError
from statedict.ops.diff.result import Described, Diff, Row
from tests.ops.diff.models import saved, watched, weights


def row(found: Diff, name: str) -> Row:
    return next(each for each in found.rows if each.name == name)


def test_the_same_names_are_the_same(tmp_path: Path) -> None:
    found = sd.diff(saved(tmp_path, "a", weights()), saved(tmp_path, "b", weights(1)), names_only=True)
    assert found.same
    assert not found
    assert found.names_only
    assert len(found.rows) == 6


def test_headers_alone_are_read(tmp_path: Path) -> None:
    moved = {"module." + name: value for name, value in weights().items()}
    a, b = saved(tmp_path, "a", weights()), saved(tmp_path, "b", moved)
    sources = watched(a), watched(b)
    found = sd.diff(a, b, names_only=True)
    assert [each.structure for each in found.rows] == [("renamed",)] * 6
    assert [source.read for source in sources] == [0, 0]


def test_each_change_has_its_word(tmp_path: Path) -> None:
    old = weights(extra=torch.ones(3))
    new = dict(old)
    del new["extra"]
    new["new.weight"] = torch.zeros(7)
    new["head.bias"] = old["head.bias"].half()
    new["norm.weight"] = torch.ones(162)
    found = sd.diff(saved(tmp_path, "a", old), saved(tmp_path, "b", new))
    assert row(found, "extra").structure == ("removed",)
    assert row(found, "new.weight").structure == ("added",)
    assert row(found, "head.bias").structure == ("recast",)
    assert row(found, "norm.weight").structure == ("reshaped",)
    assert row(found, "norm.weight").status == "equal bits"
    assert row(found, "norm.weight").note == "the first 160 were compared"
    assert [found.count(what) for what in ("added", "removed", "renamed", "recast")] == [1, 1, 0, 1]


def test_an_added_row_stands_where_the_second_has_it(tmp_path: Path) -> None:
    a = sd.open({"a": torch.ones(1), "c": torch.ones(2)})
    b = sd.open({"a": torch.ones(1), "b": torch.ones(3), "c": torch.ones(2), "d": torch.ones(4)})
    assert [each.name for each in sd.diff(a, b).rows] == ["a", "b", "c", "d"]
    assert [each.name for each in sd.diff(b, a).rows] == ["a", "b", "c", "d"]


def test_content_tells_what_moved(tmp_path: Path) -> None:
    """Two matrices of one shape that change places are known by what they hold, not by their order."""
    old = {"x.weight": torch.randn(50, 40), "y.weight": torch.randn(50, 40)}
    new = {"p.weight": old["y.weight"], "q.weight": old["x.weight"]}
    a, b = saved(tmp_path, "a", old), saved(tmp_path, "b", new)
    found = sd.diff(a, b)
    assert {each.name: (each.new_name, each.status) for each in found.rows} == {
        "x.weight": ("q.weight", "equal bits"),
        "y.weight": ("p.weight", "equal bits"),
    }
    unread = sd.diff(a, b, names_only=True)
    assert row(unread, "x.weight").new_name == "p.weight"
    assert "alone say so" in row(unread, "x.weight").note


def test_a_guess_that_values_refute_is_taken_back(tmp_path: Path) -> None:
    a = saved(tmp_path, "a", {"x.weight": torch.randn(50, 40)})
    b = saved(tmp_path, "b", {"y.weight": torch.randn(50, 40)})
    assert [(each.name, each.structure) for each in sd.diff(a, b).rows] == [
        ("x.weight", ("removed",)),
        ("y.weight", ("added",)),
    ]


def test_a_trained_model_of_other_names_is_still_the_same_model(tmp_path: Path) -> None:
    old = weights()
    new = {"model." + name: value + 0.001 * torch.randn_like(value) for name, value in old.items()}
    found = sd.diff(saved(tmp_path, "a", old), saved(tmp_path, "b", new))
    assert all(each.new_name == "model." + each.name and each.status == "different" for each in found.rows)


def test_ties() -> None:
    shared = nn.Parameter(torch.randn(4, 3))
    tied = sd.open({"embed": shared, "head": shared})
    apart = sd.open({"embed": shared.detach().clone(), "head": shared.detach().clone()})
    alone = sd.open({"embed": shared.detach().clone()})
    assert [each.structure for each in sd.diff(tied, apart).rows] == [("retied",), ("retied",)]
    assert sd.diff(tied, tied).same
    found = sd.diff(tied, alone)
    assert row(found, "head").structure == ("retied",)
    assert row(found, "head").note == "a second name of embed, which both have"
    assert found.total.count == 12


def test_metadata_and_configuration(tmp_path: Path) -> None:
    a = saved(tmp_path, "a", weights(), {"format": "pt", "step": "1", "gone": "x"})
    b = saved(tmp_path, "b", weights(), {"step": "2", "come": "y"})
    found = sd.diff(a, b)
    assert set(found.described) == {
        Described("metadata.step", "1", "2"),
        Described("metadata.gone", "x", None),
        Described("metadata.come", None, "y"),
    }
    assert not found.same
    assert sd.diff(a, b, tensors_only=True).same


def test_attributes_are_compared_entry_by_entry() -> None:
    def state(rate: float, layers: int) -> dict[str, Any]:
        return {"model": {"w": torch.ones(2)}, "epoch": 3, "config": {"rate": rate, "model": {"layers": layers}}}

    found = sd.diff(sd.open(state(0.1, 12)), sd.open(state(0.2, 24)))
    assert found.described == (Described("config.rate", 0.1, 0.2), Described("config.model.layers", 12, 24))
    assert sd.diff(sd.open(state(0.1, 12)), sd.open(state(0.1, 12))).same


def test_kinds_of_modules(tmp_path: Path) -> None:
    first = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Dropout(0.1))
    second = nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.Dropout(0.5), nn.Tanh())
    second[0] = first[0]
    torch.save(first, tmp_path / "a.pt")
    torch.save(second, tmp_path / "b.pt")
    found = sd.diff(tmp_path / "a.pt", tmp_path / "b.pt")
    assert (
        Described("1.kind", "torch.nn.modules.activation.ReLU", "torch.nn.modules.activation.GELU") in found.described
    )
    assert Described("2.p", 0.1, 0.5) in found.described
    assert Described("3", None, "Tanh") in found.described
    torch.save(first.state_dict(), tmp_path / "c.pt")
    assert sd.diff(tmp_path / "a.pt", tmp_path / "c.pt").same  # a state dict cannot tell


def test_patterns_choose_names(tmp_path: Path) -> None:
    a, b = saved(tmp_path, "a", weights(only_a=torch.ones(2))), saved(tmp_path, "b", weights(1, only_b=torch.ones(3)))
    assert {each.name for each in sd.diff(a, b, "norm.*", "only_*").rows} == {"norm.weight", "only_a", "only_b"}
    with pytest.raises(PatternError, match="matches no name"):
        sd.diff(a, b, "nothing.*")


DTYPES = [torch.float32, torch.float16, torch.int64]
parts = st.lists(st.sampled_from(["a", "b", "weight", "0", "1"]), min_size=1, max_size=3)
tensors = st.dictionaries(
    parts.map(lambda names: f"m.{'.'.join(names)}.t"),
    st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=2), st.integers(0, 1)),
    max_size=6,
)


@settings(deadline=None)
@given(tensors, tensors, st.booleans())
def test_a_diff_applied_to_the_first_is_the_second(old: Any, new: Any, names_only: bool) -> None:
    """What is not said to have changed is taken from the first: the whole is then the second, to the last value."""
    a, b = (
        {name: torch.full(shape, value).to(kind) for name, (kind, shape, value) in side.items()} for side in (old, new)
    )
    made: dict[str, torch.Tensor] = {}
    for each in sd.diff(sd.open(a), sd.open(b), names_only=names_only).rows:
        if "added" in each.structure:
            made[each.name] = b[each.name]
        elif "removed" not in each.structure:
            told = {"reshaped", "recast"} & {*each.structure} or not (each.is_same or each.status.startswith("equal"))
            value = b[each.new_name] if told else a[each.name]
            made[each.new_name if "renamed" in each.structure else each.name] = value
    assert {name: (value.dtype, value.shape) for name, value in made.items()} == {
        name: (value.dtype, value.shape) for name, value in b.items()
    }
    if not names_only:
        assert all(torch.equal(value, b[name]) for name, value in made.items())
