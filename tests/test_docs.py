"""The documentation is what the program does: its code runs, its output is today's, its links lead somewhere."""

import re
from pathlib import Path

import pytest
from click import Context

import statedict
from docs import generate
from statedict.cli.commands import commands

ROOT = generate.ROOT
PAGES = [*generate.pages(), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "examples" / "README.md"]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def names_of_commands() -> list[str]:
    return commands.list_commands(Context(commands))


@pytest.mark.slow
@pytest.mark.parametrize("page", generate.pages(), ids=name)
def test_a_page_is_current(page: Path) -> None:
    """Its Python runs, and the outputs on it are what comes out; `make docs` writes them anew."""
    text = page.read_text(encoding="utf-8")
    assert generate.rendered(text) == text


def test_every_command_has_a_page_with_its_help() -> None:
    for command in names_of_commands():
        page = ROOT / "docs" / "commands" / f"{command}.md"
        assert f"\n$ statedict {command} --help\n" in page.read_text(encoding="utf-8")
    described = {page.stem for page in (ROOT / "docs" / "commands").glob("*.md")}
    assert described == set(names_of_commands())


def test_every_export_is_documented() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in generate.pages())
    assert [export for export in statedict.__all__ if not re.search(rf"\b{export}\b", text)] == []
    assert [
        export for export in statedict.__all__ if callable(found := getattr(statedict, export)) and not found.__doc__
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", page.read_text(encoding="utf-8")):
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor[1:] in {anchor_of(heading) for heading in headings}


def anchor_of(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lstrip("# ").lower()).replace(" ", "-")


def test_every_page_is_reached_from_the_index() -> None:
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / target).resolve() for target in re.findall(r"\]\(([^)#]+\.md)\)", text)}
    assert {page for page in (ROOT / "docs").rglob("*.md") if page.name != "README.md"} <= linked


def test_output_is_rewritten() -> None:
    page = "\n".join([
        "```python", "x = 41", "```",
        "```pycon", ">>> x + 1", "stale", ">>> for y in (1, 2):", "...     print(y)", "...", ">>> [][x]", "```",
        "```console", "$ echo one && echo two >&2", "stale", "$ ls", "```", "",
    ])  # fmt: skip
    assert generate.rendered(page) == "\n".join([
        "```python", "x = 41", "```",
        "```pycon", ">>> x + 1", "42", ">>> for y in (1, 2):", "...     print(y)", "...", "1", "2", ">>> [][x]",
        "Traceback (most recent call last):", "    ...", "IndexError: list index out of range", "```",
        "```console", "$ echo one && echo two >&2", "one", "two", "$ ls", "examples", "```", "",
    ])  # fmt: skip


def test_python_that_fails_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        generate.rendered("```python\n1 / 0\n```")
