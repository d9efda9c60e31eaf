"""Amounts of bytes, as `huggingface_hub` reads them and in powers of two."""

import pytest
from huggingface_hub.serialization._base import parse_size_to_int
from hypothesis import given
from hypothesis import strategies as st

from statedict.amounts import bytes_of
from statedict.errors import StatedictError


@given(st.integers(1, 10**6), st.sampled_from(["KB", "MB", "GB", "TB"]))
def test_decimal_units_are_those_of_huggingface(number: int, unit: str) -> None:
    assert bytes_of(f"{number}{unit}") == parse_size_to_int(f"{number}{unit}") == bytes_of(f" {number} {unit.lower()} ")


@pytest.mark.parametrize(
    ("amount", "size"),
    [("1GiB", 2**30), ("1.5kib", 1536), ("5G", 5 * 10**9), ("100", 100), ("100B", 100), (7, 7), ("0.5KB", 500)],
)
def test_the_other_amounts(amount: str | int, size: int) -> None:
    assert bytes_of(amount) == size


@pytest.mark.parametrize("amount", ["", "GB", "5XB", "-5GB", "0", 0, -1, "0.1B", "5 iB", "5GB 3", "1e9", "nan"])
def test_what_is_none_is_refused(amount: str | int) -> None:
    with pytest.raises(StatedictError, match="is no amount of bytes; expected one such as 5GB"):
        bytes_of(amount)
