"""Facts that are found once: known ones go along with what is pickled, and others can be found before."""

import pickle

from statedict.expressions.once import Finding, Once

FOUND: list[int] = []


def _find(number: int) -> int:
    FOUND.append(number)
    return number * 2


def test_a_known_fact_is_not_found_again() -> None:
    FOUND.clear()
    fact = Once(_find, 21)
    assert fact() == 42

    assert pickle.loads(pickle.dumps(fact))() == 42
    assert FOUND == [21]


def test_an_unknown_fact_is_found_where_it_is_asked_for() -> None:
    FOUND.clear()
    fact = pickle.loads(pickle.dumps(Once(_find, 21)))

    assert FOUND == []
    assert fact() == 42


def test_facts_are_found_before_they_are_sent() -> None:
    FOUND.clear()
    facts = [Once(_find, 1), {"a": (Once(_find, 2),)}]

    Finding().dump(facts)

    assert FOUND == [1, 2]
