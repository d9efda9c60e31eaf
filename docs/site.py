"""What makes a site of the pages: mkdocs calls these functions (`hooks` in mkdocs.yml).

The pages are written to be read in the repository, too. So the table of contents is `docs/README.md`, from which the
navigation is made; and where a page links to a file outside `docs`, that file becomes a part of the site.
"""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
START = DOCS / "README.md"
LINK = re.compile(r"(?<=\]\()(?!\w+:)(?P<target>[^)#\s]+)(?P<anchor>#[^)]*)?(?=\))")
_HEADING = re.compile(r"^## (.+)$|^- \[([^\]]+)\]\(([^)#]+)\)", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation: a section for each heading of the start page, with the pages that are listed below it."""
    config.nav = navigation(START.read_text(encoding="utf-8"))
    return config


def navigation(text: str) -> list[dict[str, Any]]:
    """The sections and pages of a start page, as mkdocs has them."""
    found: list[dict[str, Any]] = [{"Start": START.name}]
    section: list[dict[str, str]] = []
    for heading, title, target in _HEADING.findall(text):
        if heading:
            section = []
            found.append({heading: section})
        elif len(found) > 1:
            section.append({title.replace("`", ""): place(START.parent / target)})
    return [entry for entry in found if all(entry.values())]


def place(path: Path) -> str:
    """Where in the site a file lies: as in `docs`, or as in the repository."""
    path = Path(os.path.normpath(path))
    return (path.relative_to(DOCS) if path.is_relative_to(DOCS) else path.relative_to(ROOT)).as_posix()


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the site, with those outside `docs` to which a page links, and those to which these link."""
    waiting = [Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path]
    while waiting:
        page = waiting.pop()
        for found in LINK.finditer(page.read_text(encoding="utf-8")):
            target = Path(os.path.normpath(page.parent / found["target"]))
            if target.is_file() and target.is_relative_to(ROOT) and files.get_file_from_path(place(target)) is None:
                files.append(File.generated(config, place(target), abs_src_path=os.fspath(target)))
                waiting += [target] * (target.suffix == ".md")
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A page whose links lead to where the files are in the site."""
    source = Path(page.file.abs_src_path or "")

    def moved(found: re.Match[str]) -> str:
        target = source.parent / found["target"]
        if not target.is_file():
            return found[0]
        start = Path(page.file.src_uri).parent
        return Path(os.path.relpath(place(target), start)).as_posix() + (found["anchor"] or "")

    return LINK.sub(moved, markdown)
