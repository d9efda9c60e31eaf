"""`python -m benchmarks`: the page has a place for all that is measured, and its pictures and quotations are of it."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import __main__ as everything
from benchmarks.plotting import Bar, bars, tables
from docs import generate
from tests.test_docs import anchor_of

PAGE = everything.PAGE.read_text(encoding="utf-8")
FIGURE = re.compile(r"(?<![\w.,])(\d+(?:\.(\d+))?)(?= (?:and [\d.]+ )?(s|times|MiB|GiB)\b)")
QUOTED = re.compile(r"\[([^\]]+)\]\([^)\s]*benchmarks\.md#([\w-]+)\)")
TABLE = """### A case

| process | warm s | times | CPU s | peak MiB | read MiB |
| ------- | -----: | ----: | ----: | -------: | -------: |
| `statedict ls` |  0.200 |   1.0 | 0.100 |       20 |     3.00 |
| peer    |  3.000 |  15.0 | 1.500 |      220 |     3.00 |

### Another

| way | s | CPU s | then read once, s | times | peak beside, MiB |
|---|--:|--:|--:|--:|--:|
| `sd.load_into(net, file)` | 1.205 | 0.639 | 0.108 | 1.00 | 2 |

### Of something else

| kernel | C | numpy |
|---|--:|--:|
| sum | 1.0 | 2.0 |
"""


def test_the_page_has_a_place_for_every_benchmark() -> None:
    found = {name: f"figures of {name}" for name in everything.BENCHMARKS}
    page = everything.placed(PAGE, found)
    assert all(f"\n\n{text}\n\n<!-- end -->" in page for text in found.values())
    assert re.sub(r"<!-- measured.*?<!-- end -->", "", page, flags=re.DOTALL) == re.sub(
        r"<!-- measured.*?<!-- end -->", "", PAGE, flags=re.DOTALL
    )
    with pytest.raises(ValueError, match="has no `<!-- measured: cooking -->`"):
        everything.placed(PAGE, {"cooking": ""})


def test_every_program_that_measures_is_among_them() -> None:
    folder = Path(everything.__file__).parent
    programs = {path.stem for path in folder.glob("*.py") if "\ndef main(" in path.read_text(encoding="utf-8")}
    assert programs - {"__main__", "samples"} == {*everything.BENCHMARKS, *everything.BY_HAND}


def test_tables_are_read() -> None:
    assert tables(TABLE) == {
        "A case": [Bar("`statedict ls`", 0.2, 20), Bar("peer", 3, 220)],
        "Another": [Bar("`sd.load_into(net, file)`", 1.205, 2)],
    }
    assert [bar.is_ours for rows in tables(TABLE).values() for bar in rows] == [True, False, True]


def test_a_picture_has_a_bar_for_each_row_as_long_as_its_time() -> None:
    drawn = ET.fromstring(bars({"a < b": [Bar("`ours`", 1, 10), Bar("peer", 4, 2000)]}))
    lengths = [float(each.attrib["width"]) for each in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert lengths[1] == pytest.approx(4 * lengths[0], rel=0.01)
    assert [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")] == [
        *("a < b", "ours", "1.00 s, 10 MiB", "peer", "4.00 s, 2,000 MiB"),
    ]


def test_the_pictures_are_of_the_page() -> None:
    """`python -m benchmarks --pictures` draws them anew."""
    drawn = everything.draw(PAGE)
    assert {name: everything.PAGE.with_name(name).read_text(encoding="utf-8") for name in drawn} == drawn
    assert set(re.findall(r"\((benchmarks-\w+\.svg)\)", PAGE)) == set(drawn)


def test_pages_quote_what_was_measured() -> None:
    """What a link to a part of the benchmarks quotes, such as `0.05 s and 17 MiB`, stands there, if need be rounded."""
    missing: list[str] = []
    figures = 0
    for page in generate.pages():
        for said, anchor in QUOTED.findall(page.read_text(encoding="utf-8")):
            measured = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", _part(anchor).replace(",", ""))]
            for number, decimals, unit in FIGURE.findall(said):
                scale, half = (1024 if unit == "GiB" else 1), 0.5001 * 10 ** -len(decimals)
                figures += 1
                if not any(abs(each / scale - float(number)) <= half for each in measured):
                    missing.append(f"{page.name}: {number} {unit} is not in {anchor}")
    assert missing == []
    assert figures


def _part(anchor: str) -> str:
    """What stands on the page below the heading with this anchor, up to the next that is no lower."""
    lines = PAGE.splitlines()
    headings = [(number, line) for number, line in enumerate(lines) if line.startswith("#")]
    start, level = next((number, line.index(" ")) for number, line in headings if anchor_of(line) == anchor)
    ends = (number for number, line in headings if number > start and line.index(" ") <= level)
    return "\n".join(lines[start + 1 : next(ends, None)])


@pytest.mark.slow
def test_one_command_runs_them(capfd: pytest.CaptureFixture[str]) -> None:
    everything.main(["--quick", "--only", "live", "--only", "kernels"])
    printed = capfd.readouterr()
    assert printed.err.splitlines() == [f"-m benchmarks.{name} --quick" for name in ("live", "kernels")]
    assert "| `named_modules` |" in printed.out
    assert "| 0.7 a + 0.3 b, bf16 " in printed.out
    assert everything.PAGE.read_text(encoding="utf-8") == PAGE
