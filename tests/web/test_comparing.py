"""Two checkpoints beside each other in a real Chromium: what changed, heat maps side by side, rules that are edited."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from statedict.editing import edits_of
from tests.browser import Looked, explorer, opened_page
from tests.commands import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models: tensors rounded, pruned, renamed, gone, new, and one of another shape."""
    folder = tmp_path_factory.mktemp("compared")
    torch.manual_seed(0)
    before = {f"layers.{at}.fc.weight": torch.randn(24, 16) for at in range(3)}
    before |= {"head.weight": torch.randn(10, 24), "gone.bias": torch.randn(5), "same.weight": torch.randn(4, 4)}
    before |= {"shape.weight": torch.randn(3, 7)}
    after = {f"blocks.{at}.linear.weight": before[f"layers.{at}.fc.weight"] for at in range(3)}
    after |= {"head.weight": before["head.weight"].bfloat16().float(), "same.weight": before["same.weight"]}
    after |= {"shape.weight": torch.randn(3, 8), "new.weight": torch.randn(2, 2)}
    torch.save(before, folder / "a.pt")
    torch.save(after, folder / "b.pt")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Generator[str]:
    with explorer("a.pt", "b.pt", folder=folder) as address:
        yield address


@pytest.fixture
def looked_at(chromium: Any, address: str) -> Generator[tuple[Any, Looked]]:
    with opened_page(chromium, address) as (page, looked):
        yield page, looked
        assert looked.complaints == []
        assert [each for each in looked.requests if not each.startswith((address, "data:", "blob:"))] == []


def test_what_changed_is_folded_with_its_evidence(looked_at: tuple[Any, Looked]) -> None:
    page, _ = looked_at
    page.get_by_role("tab", name="Changes").click()
    page.wait_for_selector(".diff table")
    text = page.locator(".diff").inner_text()
    assert "What changed" in text
    assert "rounded to bf16" in text
    assert "fc.weight" in text
    assert "[24, 16]" in text
    assert "statedict diff a.pt b.pt" in text
    signs = page.locator(".diff tbody .sign").all_inner_texts()
    assert any("removed" in sign for sign in signs)
    assert any("added" in sign for sign in signs)


def test_both_and_the_difference_are_seen_at_the_same_place(looked_at: tuple[Any, Looked]) -> None:
    page, looked = looked_at
    page.get_by_role("tab", name="Changes").click()
    page.wait_for_selector(".diff table")
    page.locator(".diff button.link").filter(has_text="head").first.click()
    page.wait_for_selector(".one:nth-child(3) .heat[data-loaded=true]")
    assert page.locator(".one h4").all_inner_texts() == ["A", "B", "B − A"]
    asked = [each for each in looked.requests if "/api/tile" in each]
    assert {each.partition("side=")[2].partition("&")[0] for each in asked} == {"0", "1", "difference"}
    maps = page.locator(".heat")
    for _ in range(8):
        maps.first.press("+")
    maps.first.press("ArrowLeft")
    values = []
    for at in range(3):
        maps.nth(at).hover(position={"x": 60, "y": 60})
        page.wait_for_selector(f'.one:nth-child({at + 1}) .status:has-text("] =")')
        values.append(page.locator(".heatmap .status").nth(at).inner_text())
    places, numbers = zip(*(each.split(" = ") for each in values), strict=True)
    assert len(set(places)) == 1
    a, b, difference = map(float, numbers)
    assert difference == pytest.approx(b - a, abs=0.02)


def test_a_renamed_tensor_finds_its_other_side(looked_at: tuple[Any, Looked]) -> None:
    page, _ = looked_at
    page.get_by_role("tab", name="Changes").click()
    page.wait_for_selector(".diff table")
    page.get_by_role("searchbox").fill("layers.1.fc.weight")
    page.get_by_role("treeitem").first.click()
    page.wait_for_selector(".one:nth-child(3) .heat[data-loaded=true]")
    page.get_by_role("button", name="B", exact=True).click()
    page.get_by_role("searchbox").fill("blocks.1")
    assert page.get_by_role("treeitem").count() >= 2


def test_the_map_is_coloured_by_change(looked_at: tuple[Any, Looked]) -> None:
    page, _ = looked_at
    page.get_by_role("combobox", name="Colour").select_option("change")
    page.wait_for_selector('.map .legend:has-text("relative change")')


def test_rules_are_edited_and_saved(looked_at: tuple[Any, Looked], folder: Path, tmp_path: Path) -> None:
    page, looked = looked_at
    page.get_by_role("tab", name="Match").click()
    page.wait_for_selector(".match p[role=status]:has-text('5 of 7')")
    status = page.locator(".match p[role=status]")
    assert status.inner_text().startswith("5 of 7 tensors of B are made: 2 under their own names")
    rule = page.get_by_role("textbox", name="Names in B").first
    good = rule.input_value()
    assert good == "blocks.{i}.linear.*"
    rule.fill("blocks.{i}.nothing.*")
    page.wait_for_selector(".match p[role=status]:has-text('2 of 7')")
    assert "Made under names that B has not (3)" in page.locator(".match").inner_text()
    rule.fill("blocks.{j}.linear.*")
    page.wait_for_selector(".match .failure:has-text('stands for what')")
    rule.fill(good)
    page.wait_for_selector(".match p[role=status]:has-text('5 of 7')")
    page.get_by_role("button", name="Add a rule").click()
    page.get_by_role("textbox", name="Pattern of names in A").last.fill("gone.bias")
    page.get_by_role("textbox", name="Names in B").last.fill("new.bias")
    page.wait_for_selector(".match:has-text('Made under names that B has not (1)')")
    page.get_by_role("button", name="Remove this rule").last.click()
    page.wait_for_selector(".rules tbody tr:nth-child(1):last-child")
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save rules.toml").click()
    assert saving.value.suggested_filename == "rules.toml"
    saving.value.save_as(tmp_path / "rules.toml")
    assert len(looked.downloads) == 1
    assert [name for name, _ in edits_of(str(tmp_path / "rules.toml"))] == ["drop", "make"]
    done = run("edit", str(folder / "a.pt"), str(tmp_path / "c.safetensors"), "--rules", str(tmp_path / "rules.toml"))
    assert done.code == 0, done.err
    names = run("ls", str(tmp_path / "c.safetensors"), "blocks.**").out
    assert names.count("blocks.") == 3
