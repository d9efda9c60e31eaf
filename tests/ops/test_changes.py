"""What an edit would change: found by descriptions alone, and shown as a diff."""

import pytest
import torch

import statedict as sd
from statedict.ops.changes import changes
from statedict.views.changes import changes_lines
from statedict.views.lines import plain


@pytest.fixture
def model() -> sd.Module:
    layers = {str(n): {"w": torch.full((2, 2), float(n)), "b": torch.full((2,), float(n))} for n in range(12)}
    return sd.open({"layers": layers, "head": {"w": torch.ones(3, 2)}, "steps": torch.tensor(1)})


def text(before: sd.Module, after: sd.Module, width: int | None = None) -> str:
    return plain(changes_lines(changes(before, after), 100, 50, width))


def test_repeated_blocks_are_folded(model: sd.Module) -> None:
    made = sd.cast(sd.drop(sd.rename(model, "layers.{i}.*=blocks.{i}.x.*"), "head.w"), {"**.b": "bf16"})
    assert text(model, made).splitlines() == [
        "   name               dtype  shape",
        "-  layers.{0-11}.w    f32    [2, 2]  12×",
        "+  blocks.{0-11}.x.w  f32    [2, 2]  12×",
        "-  layers.{0-11}.b    f32    [2]     12×",
        "+  blocks.{0-11}.x.b  bf16   [2]     12×",
        "-  head.w             f32    [3, 2]",
        "",
        "12 renamed, 12 changed, 1 removed, 1 as before; 100 B become 50 B",
    ]


def test_gaps_in_numbers(model: sd.Module) -> None:
    made = sd.drop(model, "layers.{0-2,5,7}.w")
    assert "-  layers.{0,1,2,5,7}.w  f32    [2, 2]  5×\n" in text(model, made)


def test_what_comes_and_what_stays() -> None:
    model = sd.open({"a": torch.ones(2), "b": torch.ones(3)})
    other = sd.open({"b": torch.ones(4), "c": torch.ones(5)})
    found = changes(model, sd.graft(model, other))
    assert [(change.what, change.name, change.new_name) for change in found.changes] == [
        ("changed", "b", "b"),
        ("added", None, "c"),
    ]
    assert found.unchanged == 1


def test_nothing(model: sd.Module) -> None:
    assert text(model, sd.rename(model)) == "26 as before; 100 B become 50 B\n"


def test_a_tensor_that_is_cast_under_another_name_is_followed(model: sd.Module) -> None:
    made = sd.rename(sd.cast(model, "f16"), "head.w=top.w")
    assert ("changed", "head.w", "top.w") in [
        (each.what, each.name, each.new_name) for each in changes(model, made).changes
    ]


def test_names_that_could_do_harm_are_escaped() -> None:
    model = sd.open({"a\x1b[31m": torch.ones(2), "b": torch.ones(1)})
    assert "\x1b" not in text(model, sd.drop(model, "a*"))


def test_lines_fit(model: sd.Module) -> None:
    made = sd.rename(model, "layers.**=a_rather_long_name_for_what_it_is.**")
    assert max(map(len, text(model, made, 50).splitlines()[:-2])) <= 50
