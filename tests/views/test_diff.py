"""What differs, as a person sees it: folded where it is alike, one line where one thing happened to all."""

import torch

import statedict as sd
from statedict.views.diff import diff_lines
from statedict.views.lines import plain


def shown(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], **how: bool) -> list[str]:
    return plain(diff_lines(sd.diff(a, b, **how))).splitlines()  # type: ignore[arg-type]


def layers(count: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = {"embed.weight": torch.randn(20, 32, generator=generator)}
    for at in range(count):
        for name in ("up", "down"):
            made[f"layers.{at}.{name}.weight"] = torch.randn(32, 32, generator=generator)
        made[f"layers.{at}.norm.weight"] = torch.ones(32)
    return made


def test_alike_blocks_are_folded_and_the_same_is_one_line() -> None:
    new = layers()
    for at in (1, 4, 5):
        new[f"layers.{at}.up.weight"] = new[f"layers.{at}.up.weight"] + 0.1 * torch.randn(32, 32)
    lines = shown(layers(), new)
    text = "\n".join(lines)
    assert "{1,4-5}" in text
    assert "up.weight (3x)" in text
    assert any(line.strip().startswith("{0,2-3}") and "9 tensors: equal bits" in line for line in lines)
    assert any(line.strip().startswith("embed") and "1 tensor: equal bits" in line for line in lines)


def test_one_thing_that_happened_to_all_is_one_line() -> None:
    (line,) = shown(layers(), {name: value.bfloat16() for name, value in layers().items()})[1:2]
    assert "19 of 19 tensors; f32 → bf16; each f32 rounded to bf16" in line
    (line,) = shown(layers(), {"module." + name: value for name, value in layers().items()})[1:2]
    assert "19 of 19 tensors; ** → module.**; equal bits" in line


def test_a_low_rank_of_some_is_not_said_of_all() -> None:
    new = layers()
    for at in range(6):
        new[f"layers.{at}.up.weight"] = new[f"layers.{at}.up.weight"] + 0.1 * torch.outer(
            torch.randn(32), torch.randn(32)
        )
    text = "\n".join(shown(layers(), new))
    assert "up.weight (6x)" in text
    assert "(all)" not in text


def test_what_came_and_went_is_cut_where_it_is_long() -> None:
    old = {f"gone{name}": torch.ones(2) for name in "abc"}
    new = {f"come_{at}x": torch.ones(at + 3) for at in range(40)}
    lines = shown(old, new, names_only=True)
    assert sum(line.startswith("-") for line in lines) == 3
    assert sum(line.startswith("+") for line in lines) == 13
    assert any("28 more tensors" in line for line in lines)


def test_modules_that_came_are_one_line() -> None:
    lines = shown(
        {"a.weight": torch.ones(3)}, {"a.weight": torch.ones(3)} | {f"new.{at}.w": torch.ones(2, 2) for at in range(5)}
    )
    assert [line for line in lines if line.startswith("+")] == ["+  new   5 tensors"]


def test_hostile_names_are_shown_escaped() -> None:
    lines = shown({"a\x1b[31m": torch.ones(2)}, {"a\x1b[31m": torch.zeros(2), "b\nc": torch.ones(1)})
    assert all(line.isprintable() for line in lines)


def test_damage_is_counted_in_the_last_line() -> None:
    old, new = torch.ones(40), torch.ones(40)
    new[3] = float("nan")
    assert "1 NaN that were numbers" in shown({"w": old}, {"w": new})[-1]
