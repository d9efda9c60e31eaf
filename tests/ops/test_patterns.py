"""Patterns over dotted names, against a matcher that is slow and plain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statedict.errors import PatternError
from statedict.ops.patterns import closest, compile_pattern, matching

Part = str | tuple[str, ...] | range


def reference(parts: list[list[Part]], name: list[str]) -> bool:
    """Whether the parts of a name fit the parts of a pattern; `["**"]` is any number of parts."""
    if not parts:
        return not name
    if parts[0] == ["**"]:
        return any(reference(parts[1:], name[skipped:]) for skipped in range(len(name) + 1))
    return bool(name) and fits(parts[0], name[0]) and reference(parts[1:], name[1:])


def fits(atoms: list[Part], text: str) -> bool:
    """Whether one part of a name fits the atoms of one part of a pattern."""
    if not atoms:
        return not text
    atom, rest = atoms[0], atoms[1:]
    if atom == "*":
        return any(fits(rest, text[taken:]) for taken in range(len(text) + 1))
    words = [atom] if isinstance(atom, str) else [str(word) for word in atom]
    return any(text.startswith(word) and fits(rest, text[len(word) :]) for word in words)


def written(parts: list[list[Part]]) -> str:
    def one(atom: Part) -> str:
        if isinstance(atom, range):
            return f"{{{atom.start}-{atom.stop - 1}}}"
        return atom if isinstance(atom, str) else f"{{{','.join(atom)}}}"

    return ".".join("".join(map(one, atoms)) for atoms in parts)


words = st.text("ab1", max_size=2)
ranges = st.tuples(st.integers(0, 130), st.integers(0, 130)).map(lambda ends: range(min(ends), max(ends) + 1))
atoms = st.one_of(st.just("*"), st.text("ab1", min_size=1, max_size=2), st.tuples(words, words), ranges)
part = st.one_of(
    st.just(["**"]),
    # Two stars in a row would be `**`, which is another thing.
    st.lists(atoms, max_size=3).filter(lambda held: "**" not in written([held])),
)
names = st.lists(st.one_of(st.text("ab1", max_size=3), st.integers(0, 140).map(str)), min_size=1, max_size=4)


@given(st.lists(part, min_size=1, max_size=4), names)
def test_matches_as_the_reference_does(parts: list[list[Part]], name: list[str]) -> None:
    found = compile_pattern(written(parts)).fullmatch(".".join(name)) is not None

    assert found == reference(parts, name)


@given(st.lists(part, min_size=1, max_size=4), st.data())
def test_matches_a_name_made_to_fit(parts: list[list[Part]], data: st.DataObject) -> None:
    name: list[str] = []
    for held in parts:
        if held == ["**"]:
            name += data.draw(st.lists(st.text("ab1", max_size=2), max_size=3))
            continue
        pieces = [
            data.draw(st.text("ab1", max_size=2))
            if atom == "*"
            else atom
            if isinstance(atom, str)
            else str(data.draw(st.sampled_from(atom)))
            for atom in held
        ]
        name.append("".join(pieces))
    if name:
        assert compile_pattern(written(parts)).fullmatch(".".join(name))


@given(st.integers(0, 12_000), st.integers(0, 12_000), st.integers(0, 13_000))
def test_a_range_holds_its_numbers(low: int, high: int, number: int) -> None:
    low, high = sorted((low, high))

    assert bool(compile_pattern(f"{{{low}-{high}}}").fullmatch(str(number))) == (low <= number <= high)


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        ("features.**", ["features", "features.0", "features.0.weight"], ["feature", "features2.0"]),
        ("**.weight", ["weight", "a.weight", "a.b.weight"], ["a.weights", "aweight"]),
        ("a.**.b", ["a.b", "a.x.b", "a.x.y.b"], ["ab", "a.xb"]),
        ("a.**.**.b", ["a.b", "a.x.b"], ["b"]),
        ("a.**.**", ["a", "a.b.c"], ["ab"]),
        ("layer**bias", ["layer.0.bias", "layerbias"], ["layer.0.weight"]),
        ("{q,k,v}_proj", ["q_proj", "v_proj"], ["o_proj", "qk_proj"]),
        ("{a.b,c{1,2}}.w", ["a.b.w", "c1.w", "c2.w"], ["a.w", "c.w"]),
        ("layers.{0-2,7}.w", ["layers.0.w", "layers.7.w"], ["layers.3.w", "layers.07.w"]),
        ("{008-010}", ["008", "009", "010"], ["8", "10", "011"]),
        ("{,bias_}w", ["w", "bias_w"], ["biasw"]),
        ("a+(b)[c]", ["a+(b)[c]"], ["aab"]),
        ("*", ["", "a", "a\nb"], ["a.b"]),
        ("**", ["", "a.b"], []),
    ],
)
def test_examples(pattern: str, fitting: list[str], other: list[str]) -> None:
    fit = compile_pattern(pattern).fullmatch

    assert [name for name in fitting + other if fit(name)] == fitting


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a.{b,c", "`a.{b,c`: `{` is never closed (character 3)"),
        ("a.b}", "`a.b}`: `}` closes nothing (character 4)"),
        ("{" * 51, f"`{'{' * 51}`: `{{` stands in more than 50 others (character 51)"),
        ("{5-2}", "`{5-2}`: the range `5-2` runs backwards; write `2-5` (character 2)"),
    ],
)
def test_a_malformed_pattern_is_told_with_its_place(pattern: str, message: str) -> None:
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)

    assert str(caught.value) == message


def test_a_name_is_its_own_pattern_whatever_it_holds() -> None:
    names = ["a.{b", "a.*", "a.c"]

    assert matching(names, ["a.{b"]) == {"a.{b"}
    assert matching(names, ["a.*"]) == {"a.*"}


def test_a_pattern_that_matches_nothing_names_the_closest() -> None:
    names = [f"encoder.layers.{at}.{rest}" for at in range(100) for rest in ("weight", "bias")]

    with pytest.raises(PatternError) as caught:
        matching(names, ["encoder.layers.0.*", "encoder.layer.12.weight"])

    assert str(caught.value).startswith(
        "`encoder.layer.12.weight` matches no name; closest: `encoder.layers.12.weight`"
    )


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("conv*", "`conv*` matches no name, as `*` ends at a dot; `conv**` matches 2"),
        ("*.weight", "`*.weight` matches no name, as `*` ends at a dot; `**.weight` matches 1"),
        ("conf*", "`conf*` matches no name"),
    ],
)
def test_a_star_that_ends_too_early_is_told(pattern: str, said: str) -> None:
    with pytest.raises(PatternError) as caught:
        matching(["conv.0.weight", "conv.0.bias", "head"], [pattern])
    assert str(caught.value).partition("; closest")[0] == said


def test_finding_the_closest_of_many_names_takes_no_time() -> None:
    names = [f"{left}{right}.{left * 2}.w" for left in map(chr, range(97, 123)) for right in range(4_000)]

    assert closest("a17.aa.ww", names)[0] == "a17.aa.w"


def test_many_stars_do_not_take_forever() -> None:
    assert not compile_pattern("**." * 30 + "x").fullmatch("a." * 200 + "y")
