"""Values print as Python prints them, PyTorch's own under PyTorch's names, and every value comes to an end."""

import sys
from collections import OrderedDict, defaultdict

import pytest
from hypothesis import given

from statedict.dtypes import DTYPES
from statedict.opaque import Opaque
from statedict.tree.layers.values import text, written
from tests.hostile_values import nested, plain_scalars


@given(nested(plain_scalars))
def test_plain_values_print_as_python_prints_them(value: object) -> None:
    assert written(value) == repr(value)
    assert text(value) == str(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (DTYPES["float32"], "torch.float32"),
        ([DTYPES["int64"], None], "[torch.int64, None]"),
        (Opaque("torch.nn.functional.relu"), "torch.nn.functional.relu"),
        (Opaque("library.Options", (1,), {"a": "b"}, {"c": 2}), "Options(1, a='b', c=2)"),
        (set[int](), "set()"),
        (frozenset({1}), "frozenset({1})"),
        (OrderedDict(a=1), "OrderedDict({'a': 1})"),
        (defaultdict(int, a=1), "defaultdict({'a': 1})"),
        (range(3), "range(0, 3)"),
    ],
)
def test_what_only_files_hold(value: object, expected: str) -> None:
    assert written(value) == expected


def test_an_integer_that_python_refuses_to_print() -> None:
    digits = sys.get_int_max_str_digits()
    assert written([10 ** (digits - 1)]) == f"[1{'0' * (digits - 1)}]"
    assert written(-(16**digits)) == f"-0x1{'0' * digits}"


def test_values_that_hold_themselves_end() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert written(endless).strip("[]") == "…"
    cycle: dict[str, object] = {}
    cycle["a"] = Opaque("x.Y", (cycle,))
    assert "…" in written(cycle)


def test_values_that_multiply_end() -> None:
    laughs: object = "ha"
    for _ in range(40):
        laughs = [laughs] * 10
    assert len(written({"a": laughs})) < 100_000
    assert written({"a": laughs}).endswith("…")
