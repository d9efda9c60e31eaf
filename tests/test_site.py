"""The documentation as a site: it builds without a warning, and everything that it shows lies in it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import site

ROOT = site.ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, re.findall(r"^(?:WARNING|ERROR).*", done.stderr, re.MULTILINE)) == (0, []), done.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_in_the_site(built: Path) -> None:
    pages = {page.relative_to(site.DOCS).with_suffix(".html") for page in site.DOCS.rglob("*.md")}
    pages = {page.with_name("index.html") if page.name == "README.html" else page for page in pages}
    missing = [
        str(page)
        for page in (*pages, Path("CONTRIBUTING.html"), Path("CHANGELOG.html"))
        if not (built / page).is_file()
    ]
    assert missing == []


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(built: Path) -> None:
    for page in built.rglob("*.html"):
        assert (
            re.findall(r"""<(?:script|img|link)[^>]*\b(?:src|href)=["']?https?:""", page.read_text(encoding="utf-8"))
            == []
        )


@pytest.mark.slow
def test_links_between_pages_lead_to_files_of_the_site(built: Path) -> None:
    for page in (page for page in built.rglob("*.html") if page.name != "404.html"):  # which is shown at any address
        for target in re.findall(r"""<a[^>]*\bhref=["']?([^"'#:\s>]+)(?=[#"'\s>])""", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(built)}: {target}"


def test_the_navigation_is_that_of_the_start_page() -> None:
    text = "# A\n\n- [not yet](no.md)\n\n## One\n\n- [`a b`](commands/a.md): x\n- [C](../CONTRIBUTING.md)\n\n## None\n"
    assert site.navigation(text) == [
        {"Start": "README.md"},
        {"One": [{"a b": "commands/a.md"}, {"C": "CONTRIBUTING.md"}]},
    ]


def test_every_page_but_the_start_is_in_one_section() -> None:
    _, *sections = site.navigation(site.START.read_text(encoding="utf-8"))
    places = [
        place for section in sections for entries in section.values() for entry in entries for place in entry.values()
    ]
    assert sorted(places) == sorted(set(places))
    assert {site.place(page) for page in site.DOCS.rglob("*.md")} - {"README.md"} <= set(places)
