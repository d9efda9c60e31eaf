"""Folded names: patterns that fit exactly the names they stand for."""

from hypothesis import given
from hypothesis import strategies as st

from statedict.ops.folding import folded
from statedict.ops.patterns import matching

PARTS = st.sampled_from(["0", "1", "2", "3", "9", "10", "11", "01", "²", "a", "b", "weight", "bias", "x y", ""])
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=4).map(".".join), max_size=30, unique=True)


@given(NAMES, NAMES)
def test_the_patterns_fit_these_names_and_no_others(names: list[str], others: list[str]) -> None:
    patterns = folded(names)
    assert matching([*names, *others], patterns) == set(names)
    assert len(patterns) <= len(names)
    for pattern in patterns:  # none is said twice
        assert len(names) - len(matching(names, [other for other in patterns if other != pattern])) > 0


def test_what_a_person_sees() -> None:
    names = [f"h.{i}.{norm}.{part}" for i in range(12) for norm in ("ln_1", "ln_2") for part in ("weight", "bias")]
    assert folded(["wte.weight", *names, "ln_f.bias"]) == [
        "wte.weight",
        "h.{0-11}.{ln_1,ln_2}.{weight,bias}",
        "ln_f.bias",
    ]
    assert folded(["a.1", "a.2", "a.4", "a.5", "a.6"]) == ["a.{1,2,4-6}"]
    assert folded([]) == []


def test_names_that_mean_something_in_a_pattern_stand_for_themselves() -> None:
    assert folded(["a.{0}", "a.*", "a.b"]) == ["a.{0}", "a.*", "a.b"]


def test_too_many_names_come_as_they_are() -> None:
    names = [f"{i}.weight" for i in range(20_001)]
    assert folded(names) == names
