"""Each view of the page, in light and dark, on a screen and a phone: axe-core finds nothing wrong with it."""

from collections.abc import Generator
from typing import Any

import pytest

from tests.axe import violations
from tests.browser import explorer, opened_page
from tests.sample_checkpoints import write_all


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    folder = tmp_path_factory.mktemp("accessible")
    write_all(folder)
    with explorer("net.pt", "language_whole.pt", folder=folder) as address:
        yield address


def see(page: Any, view: str) -> None:
    """Bring a view of the page about."""
    if view == "tensor":
        page.get_by_role("searchbox").fill("features.4.weight")
        page.get_by_role("treeitem").first.click()
        page.wait_for_selector(".details .bars")
        page.wait_for_selector(".heat[data-loaded=true]")
        page.get_by_text("Row by index").click()
        page.wait_for_selector(".details .line")
    elif view == "tree":
        page.get_by_role("button", name="Unfold all").click()
    elif view == "figures":
        page.get_by_role("combobox", name="Colour").select_option("rms")
        page.wait_for_selector('.map .legend:has-text("root mean square")')
    elif view != "map":
        page.get_by_role("tab", name=view).click()
        page.wait_for_selector(f".{'diff' if view == 'Changes' else 'match'} .pane-body h2")
        page.wait_for_timeout(300)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["map", "figures", "tree", "tensor", "Changes", "Match"])
def test_nothing_is_wrong_with(chromium: Any, address: str, view: str, scheme: str) -> None:
    with opened_page(chromium, address, color_scheme=scheme) as (page, _):
        see(page, view)
        assert violations(page) == []


@pytest.mark.parametrize("pane", ["Tree", "Map", "Details"])
def test_nothing_is_wrong_on_a_phone(chromium: Any, address: str, pane: str) -> None:
    with opened_page(chromium, address, viewport={"width": 375, "height": 700}) as (page, _):
        page.locator(".narrow").get_by_role("button", name=pane).click()
        assert violations(page) == []


def test_what_is_wrong_is_found(chromium: Any, address: str) -> None:
    with opened_page(chromium, address) as (page, _):
        page.evaluate("() => document.documentElement.removeAttribute('lang')")
        page.locator(".row .facts").first.evaluate("(element) => { element.style.color = '#ddd'; }")
        found = violations(page)
        assert any(each.startswith("html-has-lang: ") for each in found)
        assert any(each.startswith("color-contrast: ") for each in found)
