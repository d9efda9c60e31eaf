"""The pieces that views are made of: text that is safe to show, numbers, values, tables, folds."""

import io
import json
import math
from fractions import Fraction
from typing import Any

import pytest
import rich.cells
from hypothesis import given
from hypothesis import strategies as st

from statedict.dtypes import dtype
from statedict.index import TensorInfo
from statedict.opaque import Opaque
from statedict.tree.rows import Row
from statedict.views import lines, numbers
from statedict.views.documents import plain
from statedict.views.listing import listing, plain_listing
from statedict.views.table import MOST_ALIGNED, Column, table
from statedict.views.values import value_text

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)


@given(any_text)
def test_what_is_shown_prints_and_can_be_read_back(text: str) -> None:
    shown = lines.escaped(text)

    assert shown.isprintable()
    assert shown.encode("latin-1", "backslashreplace").decode("unicode_escape") == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31m", r"a\x1b[31m"),
        ("\u202e", r"\u202e"),
        ("\n", r"\n"),
        ("\\", r"\\"),
        ("\udc80", r"\udc80"),
        ("é層", "é層"),
    ],
)
def test_escaped(text: str, shown: str) -> None:
    assert lines.escaped(text) == shown


def test_names_that_could_be_overlooked_stand_in_quotes() -> None:
    assert [lines.name_text(name) for name in ("", " a", "a ", "a")] == ['""', '" a"', '"a "', "a"]


printable = st.text(st.characters(categories=["Ll", "Lo", "Nd", "So"]), max_size=60)


@given(printable, st.integers(0, 70))
def test_shortened_fits_and_keeps_what_fits(text: str, width: int) -> None:
    for cut in (lines.shortened, lines.middle_shortened):
        shown = cut(text, width)

        assert lines.cells(shown) <= width
        assert shown == text if rich.cells.cell_len(text) <= width else lines.ELLIPSIS in shown or width == 0


@given(st.lists(st.tuples(printable, st.just("dim")), max_size=5), st.integers(1, 80))
def test_fitted_never_exceeds_the_width(line: Any, width: int) -> None:
    whole = "".join(text for text, _ in line)
    fitted = "".join(text for text, _ in lines.fitted(line, width))

    assert lines.cells(fitted) <= width
    assert fitted == whole if lines.cells(whole) <= width else fitted.endswith(lines.ELLIPSIS)
    assert "".join(text for text, _ in lines.fitted(line, None)) == whole


words = st.lists(st.text("abcé層", min_size=1, max_size=12), min_size=1, max_size=12).map(" ".join)


@given(st.lists(st.tuples(words, st.just("dim")), min_size=1, max_size=4), st.integers(30, 80))
def test_wrapped_loses_no_word_and_never_exceeds_the_width(line: Any, width: int) -> None:
    made = ["".join(text for text, _ in each) for each in lines.wrapped(line, width)]

    assert max(map(lines.cells, made)) <= width
    assert "".join("".join(made).split()) == "".join("".join(text for text, _ in line).split())
    assert all(each.startswith("    ") for each in made[1:])
    assert lines.wrapped(line, None) == [line]


def test_spaces_at_the_end_are_nothing_to_cut() -> None:
    assert lines.fitted([("name", "dim"), ("      ", "dim")], 6) == [("name", "dim")]
    assert lines.fitted([("name    ", "dim")], 6) == [("name", "dim")]


def test_a_name_of_ten_thousand_characters_is_cut_in_the_middle() -> None:
    assert lines.middle_shortened("a" * 5_000 + "b" * 5_000, 11) == "aaaaa…bbbbb"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.00K"),
        (9_994, "9.99K"),
        (9_996, "10.0K"),
        (99_960, "100K"),
        (999_499, "999K"),
        (999_500, "1.00M"),
        (109_482_240, "109M"),
        (1_240_000_000, "1.24B"),
        (10**40, "1000000000000000Q"),
    ],
)
def test_brief(count: int, shown: str) -> None:
    assert numbers.brief(count) == shown


@given(st.integers(0, 10**17))
def test_brief_is_right_to_three_digits(count: int) -> None:
    text = numbers.brief(count)
    value = Fraction(text.rstrip("KMBTQ")) * 1000 ** " KMBTQ".index(text[-1] if text[-1].isalpha() else " ")

    assert abs(value - count) <= Fraction(count, 198)
    assert len(text.strip("KMBTQ").replace(".", "")) <= 3


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (int(2.25 * 2**30), "2.25 GiB"), (2**20 - 1, "1.00 MiB")],
)
def test_size(count: int, shown: str) -> None:
    assert numbers.size(count) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "True"),
        (3, "3"),
        (0.1, "0.1"),
        (1 / 3, "0.333333"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (1 - 2j, "1-2j"),
    ],
)
def test_value(value: object, shown: str) -> None:
    assert numbers.value(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3, "3"),
        ("x\x1b", r'"x\x1b"'),
        ('say "hi"', "'say \"hi\"'"),
        ({"lr": 0.1, 3: None}, "{lr: 0.1, 3: None}"),
        ((1,), "(1)"),
        (list(range(100)), "[… 100 items]"),
        ({str(key): key for key in range(100)}, "{… 100 keys}"),
        ("x" * 100, '"' + "x" * 57 + '…" (100 characters)'),
        (Opaque("argparse.Namespace", (), state={"lr": 0.1}), "argparse.Namespace(lr=0.1)"),
        (Opaque("torch.nn.functional.relu"), "torch.nn.functional.relu"),
        (Opaque("a.B", (), state={f"name_{at}": at for at in range(50)}), "a.B(… 50 attributes)"),
    ],
)
def test_value_text(value: object, shown: str) -> None:
    assert value_text(value) == shown


def laughs(depth: int) -> Any:
    value: Any = ("ha",)
    for _ in range(depth):
        value = (value, value)
    return value


def test_values_that_hold_themselves_or_would_grow_without_end_are_cut() -> None:
    itself: list[Any] = []
    itself.append(itself)

    assert len(value_text(itself)) < 100
    assert len(value_text(laughs(90))) < 100
    assert len(value_text({laughs(12): 1})) < 200
    assert "\\u2026" in json.dumps(plain(itself))
    assert len(json.dumps(plain(laughs(90), most=1_000))) < 20_000


simple = st.none() | st.booleans() | st.floats() | any_text | st.binary()
values = st.recursive(simple, lambda held: st.lists(held) | st.dictionaries(any_text | st.integers(), held))


@given(values)
def test_any_value_becomes_strict_json_and_one_line(value: Any) -> None:
    json.loads(json.dumps(plain(value), allow_nan=False), parse_constant=pytest.fail)
    assert value_text(value).isprintable()


def test_a_table_is_aligned_by_what_a_terminal_shows() -> None:
    columns = [Column("name", ["a", "層層層"]), Column("n", ["1", "10"], to_right=True)]

    assert lines.plain(table(columns)) == "name     n\na        1\n層層層  10\n"


def test_an_absurdly_long_name_does_not_widen_the_lines_of_others() -> None:
    columns = [Column("name", ["a", "x" * 60_000], shrinks=True), Column("n", ["1", "2"])]
    written = io.StringIO(lines.plain(table(columns))).readlines()

    assert len(written[1]) < MOST_ALIGNED + 10
    assert written[2] == "x" * 60_000 + "  2\n"


@given(st.integers(20, 200))
def test_a_table_fits_its_width(width: int) -> None:
    columns = [
        Column("name", ["x" * 70, "y"], shrinks=True),
        Column("shape", ["[1, 2]", "[]"]),
        Column("role", ["z" * 50] * 2),
    ]

    for line in table(columns, width):
        assert sum(lines.cells(text) for text, _ in line) <= width


ROWS = st.builds(
    Row,
    st.text(max_size=6) | st.text("ab é漢\\", max_size=6),
    st.builds(
        lambda kind, shape: TensorInfo("", dtype(kind), shape, None),
        st.sampled_from(["float32", "bfloat16"]),
        st.sampled_from([(), (3, 4), (1000, 1000), None]),
    ),
    st.sampled_from(["parameter", "buffer"]),
)


@given(st.lists(ROWS, max_size=5), st.booleans())
def test_a_plain_listing_is_the_listing_without_styles(rows: list[Row], tied: bool) -> None:
    ties = {rows[-1].name: rows[0].name} if tied and rows else {}
    optimized = {rows[0].name: "x\n"} if tied and rows else {}
    assert plain_listing(rows, ties, optimized) == lines.plain(listing(rows, ties, None, optimized))
