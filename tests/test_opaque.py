"""Descriptions of what was not built: what can be asked of them, and how they print."""

import copy
import pickle
import time
from typing import Any

import pytest

from statedict.opaque import Opaque, text

PRINTED = [
    (Opaque("torch.nn.functional.relu"), "torch.nn.functional.relu"),
    (Opaque("a.B", ()), "a.B()"),
    (Opaque("a.B", (1, "x")), "a.B(1, 'x')"),
    (Opaque("a.B", (1,), {"k": 2}), "a.B(1, k=2)"),
    (Opaque("a.B", (), state={"lr": 0.1, "n": None}), "a.B(lr=0.1, n=None)"),
    (Opaque("a.B", (), state=(None, {"slot": 1})), "a.B(slot=1)"),
    (Opaque("a.B", (), state=({"lr": 1}, {"slot": 2})), "a.B(lr=1, slot=2)"),
    (Opaque("a.B", (), state=[1]), "a.B(state=[1])"),
    (Opaque("a.B", (), items=[1, 2]), "a.B([1, 2])"),
    (Opaque("a.B", (), items={"k": 1}), "a.B({'k': 1})"),
    (Opaque("a.B", (Opaque("c.D", (2,)),)), "a.B(c.D(2))"),
    (Opaque("a.B", ((), (1,), [], {}, set(), {1}, frozenset())), "a.B((), (1,), [], {}, set(), {1}, frozenset())"),
]


@pytest.mark.parametrize(("value", "printed"), PRINTED, ids=[printed for _, printed in PRINTED])
def test_it_prints_as_it_would_be_made(value: Opaque, printed: str) -> None:
    assert repr(value) == printed


def test_plain_values_print_as_python_prints_them() -> None:
    for value in (
        1,
        "a\n",
        b"a",
        None,
        1.5,
        [1, (2,), {"a": {3}}],
        {1: [None]},
        frozenset([1]),
        1j,
        "é",
        ...,
        [[]],
        ([],),
    ):
        assert text(value) == repr(value)


def test_attributes_are_those_of_the_state() -> None:
    namespace = Opaque("argparse.Namespace", (), state={"lr": 0.1, "name": "of the state", 3: "number"})
    assert namespace.lr == 0.1
    assert namespace.name == "argparse.Namespace", "its own attributes come first"
    assert namespace.attributes == {"lr": 0.1, "name": "of the state", "3": "number"}
    assert namespace.kind == "Namespace"
    with pytest.raises(
        AttributeError, match=r"`argparse\.Namespace`, which was not built, holds no attribute `momentum`"
    ):
        namespace.momentum  # noqa: B018
    with pytest.raises(AttributeError):
        namespace.__array__  # noqa: B018


def test_it_travels_to_other_processes() -> None:
    value = Opaque("a.B", (1,), {"k": 2}, {"s": 3}, [4])
    assert repr(pickle.loads(pickle.dumps(value))) == repr(value) == repr(copy.deepcopy(value))


def test_what_holds_itself_prints() -> None:
    value = Opaque("a.B", ())
    value.state = {"me": value, "list": [value]}
    assert repr(value) == "a.B(me=..., list=[...])"
    numbers: list[Any] = [1]
    numbers.append(numbers)
    assert text(numbers) == "[1, ...]"


def test_what_is_long_is_cut() -> None:
    assert text(list(range(100)), 5) == "[0, 1, 2, 3, …]"
    assert text({number: number for number in range(100)}, 5).endswith(", …}")
    assert repr(Opaque("a.B", tuple(range(100_000)))).endswith(", …)")


def test_what_is_deep_is_cut() -> None:
    value: Any = None
    for _ in range(100_000):
        value = [value]
    assert "…" in text(value)
    del value


def test_what_is_shared_without_end_prints_in_time() -> None:
    value: Any = Opaque("a.B", ())
    for _ in range(60):
        value = Opaque("a.B", (value, [value]), state={"a": value})
    start = time.process_time()
    assert len(repr(value)) < 200_000
    assert time.process_time() - start < 2
