"""What a file may hold where a number was expected: a Hypothesis strategy."""

from hypothesis import strategies as st

from statedict.dtypes import DTYPES
from statedict.opaque import Opaque
from tests.taken_apart import Stored

plain_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=5)
    | st.binary(max_size=3)
)
_strange_scalars = (
    st.sampled_from(list(DTYPES.values()))
    | st.sampled_from([Opaque("a.b"), Opaque("a.B", (1,), state={"c": 2}), Opaque("a.C", (), items=[1])])
    | st.builds(Stored, st.none() | st.tuples(st.integers(0, 3)))
)


def nested(scalars: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Containers of them, in all the ways in which Python nests them."""
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.frozensets(st.integers(), max_size=3)
            | st.sets(st.text(max_size=2), max_size=3)
            | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=8,
    )


values = nested(plain_scalars | _strange_scalars)
