"""The terminal explorer, driven by textual's pilot: keys in, what is on the screen out."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, OptionList, Static, Tree

from statedict.cli.explore import side
from statedict.terminal.explorer import Explorer
from tests.commands import run
from tests.sample_checkpoints import write_all

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browsed")
    write_all(folder)
    return folder


def looked(folder: Path, *files: str, act: Callable[[Any, Explorer], Coroutine[Any, Any, None]]) -> None:
    """Open files in the explorer, and do something with its pilot."""

    async def session() -> None:
        app = Explorer([side(str(folder / file), None, None, strip=False) for file in files])
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause()
            await act(pilot, app)

    asyncio.run(session())


def text(app: Explorer, name: str) -> str:
    return str(app.query_one(name, Static).visual)


async def settled(pilot: Any, app: Explorer) -> None:
    await app.workers.wait_for_complete()
    await pilot.pause()


def lines(app: Explorer) -> list[str]:
    tree: Any = app.query_one("#tree", Tree)
    return [str(tree.get_node_at_line(at).label) for at in range(tree.last_line + 1)]


def test_the_tree_is_walked_by_keys(folder: Path) -> None:
    async def act(pilot: Any, app: Explorer) -> None:
        shown = lines(app)
        assert shown[0].startswith("language_whole.pt Language")
        assert any(line.startswith("layers ModuleList") for line in shown)
        await pilot.press("down", "down")
        await settled(pilot, app)
        assert "embedding" in text(app, "#facts")
        await pilot.press("down", "enter")
        assert any(line.startswith("0-2 3×") for line in lines(app))
        await pilot.press("u")
        await pilot.pause()
        await pilot.press("down", "down", "down", "enter")
        assert sum(line.startswith(("0 Block", "1 Block", "2 Block")) for line in lines(app)) == 3

    looked(folder, "language_whole.pt", act=act)


def test_search_shows_numbers_and_a_histogram(folder: Path) -> None:
    async def act(pilot: Any, app: Explorer) -> None:
        await pilot.press("slash", *"key weight", "enter")
        await settled(pilot, app)
        found = app.query_one("#found", OptionList)
        assert found.option_count == 3
        assert "layers.0.attention.key.weight" in text(app, "#facts")
        assert "[8, 8]" in text(app, "#facts")
        assert "█" in text(app, "#numbers")
        assert "std" in text(app, "#numbers")
        await pilot.press("down")
        await settled(pilot, app)
        assert "layers.1.attention.key.weight" in text(app, "#facts")
        await pilot.press("escape")
        assert app.query_one("#search", Input).value == ""
        assert app.query_one("#tree", Tree).display

    looked(folder, "language_whole.pt", act=act)


@pytest.mark.parametrize(("words", "count"), [("**.{query,key}.bias", 6), ("nothing_of_that", 1), ("{", 1)])
def test_patterns_and_what_is_not_there(folder: Path, words: str, count: int) -> None:
    async def act(pilot: Any, app: Explorer) -> None:
        app.query_one("#search", Input).value = words
        await pilot.pause()
        assert app.query_one("#found", OptionList).option_count == count

    looked(folder, "language_whole.pt", act=act)


def test_a_modules_numbers_are_read_when_asked_for(folder: Path) -> None:
    async def act(pilot: Any, app: Explorer) -> None:
        await settled(pilot, app)
        assert text(app, "#numbers") == ""
        await pilot.press("s")
        await settled(pilot, app)
        assert "features.0.weight" in text(app, "#numbers")
        assert "tensors" in text(app, "#numbers")

    looked(folder, "net_whole.pt", act=act)


def test_two_files_are_compared(folder: Path) -> None:
    async def act(pilot: Any, app: Explorer) -> None:
        await pilot.press("d")
        await settled(pilot, app)
        assert "18 equal bits" in text(app, "#facts")
        await pilot.press("escape")

    looked(folder, "net.pt", "net_whole.pt", act=act)


def test_one_file_is_not(folder: Path) -> None:
    async def act(pilot: Any, app: Explorer) -> None:
        await pilot.press("d")
        await pilot.pause()
        assert "Comparing" not in text(app, "#facts")

    looked(folder, "net.pt", act=act)


def test_hostile_names_are_inert(folder: Path) -> None:
    async def act(pilot: Any, app: Explorer) -> None:
        shown = "\n".join(lines(app))
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "\\u202eright-to-left" in shown
        for _ in range(len(lines(app))):
            await pilot.press("down")
            await settled(pilot, app)
            assert "\x1b" not in text(app, "#facts")

    looked(folder, "hostile.pt", act=act)


def test_what_cannot_be_opened_is_told_before_anything_is_drawn(folder: Path) -> None:
    done = run("browse", str(folder / "nothing.pt"))
    assert (done.code, done.out) == (2, "")
    assert "nothing.pt" in done.err
