"""The conditions of `--where`: what they mean, and what they refuse."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statedict.errors import PatternError
from statedict.ops.where import FIELDS, compile_where

VALUES: dict[str, Any] = {
    "name": "features.0.weight",
    "dtype": "bfloat16",
    "shape": (6, 3, 3, 3),
    "ndim": 4,
    "numel": 162,
    "nbytes": 324,
    "kind": "Conv2d",
    "role": "parameter",
    "requires_grad": True,
    "device": "cpu",
}


def test_the_values_are_all_the_fields() -> None:
    assert tuple(VALUES) == FIELDS


@pytest.mark.parametrize(
    "text",
    [
        "ndim == 4 and numel > 1e2",
        "dtype == bf16",
        "dtype == 'bf16'",
        "dtype == 'torch.bfloat16'",
        "dtype != f32",
        "dtype in (f32, bf16)",
        "dtype in ['half', \"bfloat16\"]",
        "'bf16' == dtype",
        "not dtype == f32",
        "role == parameter",
        "role == 'parameter'",
        "name.endswith('.weight') and not name.startswith('x')",
        "'Conv' in kind",
        "'conv' in kind.lower()",
        "kind is not None",
        "shape[0] == 6 and shape[-1] == 3",
        "shape == (6, 3, 3, 3)",
        "3 in shape",
        "max(shape) == 6 and min(shape) == 3 and len(shape) == ndim",
        "1 < ndim <= 4",
        "numel % 2 == 0 and numel // 2 == 81 and nbytes / numel == 2 and numel * 2 - 2 + 2 == 324",
        "-1 < 0",
        "requires_grad",
        "requires_grad == True",
        "device == 'cpu' or False",
        " numel == 162\n",
    ],
)
def test_holds(text: str) -> None:
    assert compile_where(text)(VALUES)
    assert not compile_where(f"not ({text.strip()})")(VALUES)


@pytest.mark.parametrize("text", ["shape[4] == 3", "shape[4] > 3", "shape[4] + 1 < 9", "shape[-5] == 3"])
def test_what_a_tensor_has_not_equals_and_exceeds_nothing(text: str) -> None:
    assert not compile_where(text)(VALUES)


def test_a_module_of_no_known_kind_fits_no_kind() -> None:
    values = VALUES | {"kind": None, "shape": None, "ndim": None}

    assert not compile_where("'Conv' in kind")(values)
    assert not compile_where("kind.lower() == 'conv2d'")(values)
    assert not compile_where("ndim > 0 or max(shape) > 0 or shape[0] > 0")(values)
    assert compile_where("kind is None and kind == None and kind != 'Conv2d'")(values)


@given(
    st.integers(-9, 9), st.integers(-9, 9), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.sampled_from("+-*")
)
def test_numbers_compare_as_in_python(left: int, right: int, sign: str, operation: str) -> None:
    text = f"{left} {operation} {right} {sign} numel {operation} 1"

    assert compile_where(text)({"numel": right}) == eval(text, {"numel": right})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("numel >", "ends too early"),
        ("numel > 3 && ndim == 2", "`&&` is written `and` (character 12)"),
        ("!requires_grad", "`!` is written `not` (character 1)"),
        ("siz > 3", f"there is no field `siz`; expected one of {', '.join(FIELDS)} (character 1)"),
        ("ndim == 2 and dtype == 'float3'", "`float3` is no element type; expected one such as bf16"),
        ("numel ** 9 > 3", "`numel ** 9`: expected one of + - * / // %, or `and`, `or` (character 1)"),
        ("[x for x in shape]", "`[x for x in shape]` is not allowed here (character 1)"),
        ("(lambda: 1)()", "`(lambda: 1)()`: the calls are len(shape), min(shape), max(shape), name.startswith()"),
        ("__import__('os').system('true')", "the calls are"),
        ("name.__class__", "`name.__class__` is not allowed here (character 1)"),
        ("name.format(1)", "the calls are"),
        ("open('x')", "the calls are"),
        ("shape[0:2] == 3", "expected one position, as in `shape[0]` (character 1)"),
        ("len(shape, x=1)", "names of arguments are not allowed"),
        ("f'{name}'", "is not allowed here"),
        ("1j == 2", "is no number, text, True, False or None"),
        ("~numel", "is not allowed here"),
        ("(x := 3)", "is not allowed here"),
        ("", "ends too early"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(PatternError) as caught:
        compile_where(text)

    assert message in str(caught.value)
    assert str(caught.value).startswith(f"`{text}`: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("numel > 'x'", "`>` cannot compare a number with a text"),
        ("name + 'x' == 'y'", "`+` needs two numbers"),
        ("'a' * 1000000000 == name", "`*` needs two numbers"),
        ("name[0] == 'f'", "only `shape` has positions"),
        ("len(name) > 3", "`len` needs `shape`"),
        ("3 in numel", "`in` cannot compare a number with a number"),
        ("numel / 0 > 3", "division by zero"),
        ("shape.lower() == 3", "`lower` needs a text"),
    ],
)
def test_tells_of_values_that_do_not_fit(text: str, message: str) -> None:
    holds = compile_where(text)

    with pytest.raises(PatternError) as caught:
        holds(VALUES)

    assert message in str(caught.value)
    assert "at `features.0.weight`" in str(caught.value)


ABSURD = {
    "brackets": "(" * 5_000 + "1" + ")" * 5_000,
    "not": "not " * 2_400 + "1",
    "long": "1" * 20_000,
    "minus": "-" * 9_000 + "1",
}


@pytest.mark.parametrize("text", ABSURD.values(), ids=ABSURD)
def test_absurd_nesting_is_an_error_and_no_crash(text: str) -> None:
    with pytest.raises(PatternError):
        compile_where(text)({})
