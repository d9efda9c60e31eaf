"""Rules that give names: what each finds, what it makes of it, and what is no rule."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statedict.errors import PatternError
from statedict.ops.patterns import compile_pattern
from statedict.ops.rules import compile_rule

CASES: dict[str, dict[str, str | None]] = {
    "module.**=**": {"module.a.b": "a.b", "module": "", "modules.a": None, "x.module.a": None},
    "**=model.**": {"a.b": "model.a.b", "a": "model.a", "": "model"},
    "**.x=**": {"a.b.x": "a.b", "x": "", "a.xx": None},
    "a.**.z=**.**": {},
    "model.**=**.x": {"model": "x", "model.a": "a.x"},
    "layers.{i}.attn.*=blocks.{i}.attention.*": {
        "layers.0.attn.q": "blocks.0.attention.q",
        "layers.first.attn.q": "blocks.first.attention.q",
        "layers.0.attn.q.w": None,
        "layers.0.0.attn.q": None,
    },
    "h{i}.**.weight=layer.{i}.**.kernel": {
        "h0.weight": "layer.0.kernel",
        "h12.a.b.weight": "layer.12.a.b.kernel",
        "head.weight": None,
    },
    "{a,b}.*={a,b}x.*": {"a.w": "ax.w", "b.w": "bx.w", "c.w": None},
    "l{0-3}.w=m.{0-3}": {"l0.w": "m.0", "l3.w": "m.3", "l4.w": None},
    "{i}.x.{i}={i}": {"1.x.1": "1", "1.x.2": None},
    "{i}1.{i}1={i}": {"21.21": "2", "21.31": None},
    "*_*.*=*.*.*": {"a_b.c": "a.b.c"},
    "*.*=*": {"a.b": "a"},
    "a=b": {"a": "b", "aa": None},
    "**.{*.a,b}=**.{*.a,b}.c": {"x.y.a": "x.y.a.c", "x.b": "x.b.c"},
    "a**c=x**": {"a.b.c": "x.b.", "ac": "x"},
}


@pytest.mark.parametrize("rule", [rule for rule in CASES if CASES[rule]])
def test_names(rule: str) -> None:
    rename = compile_rule(rule).rename
    assert {name: rename(name) for name in CASES[rule]} == CASES[rule]


WRONG = {
    "a": "`a` is no rule; expected PATTERN=REPLACEMENT, such as `module.**=**`",
    "=b": "`=b` is no rule; expected PATTERN=REPLACEMENT, such as `module.**=**`",
    "a=b=c": "`a=b=c` is no rule; expected PATTERN=REPLACEMENT, such as `module.**=**`",
    "a=*": "`a=*`: `*` on the right stands for what `*` on the left has found, which has none",
    "*=*.*": "`*=*.*`: `*` on the right stands for what `*` on the left has found, which has only 1",
    "**.a=*": "`**.a=*`: `*` on the right stands for what `*` on the left has found, which has none",
    "{i}={j}": "`{i}={j}`: `{j}` on the right stands for what `{j}` on the left has found, which has none",
    "a={": "`a={`: a brace on the right has no other",
    "{a=b": "`{a`: `{` is never closed (character 1)",
}


@pytest.mark.parametrize("rule", WRONG)
def test_what_is_no_rule(rule: str) -> None:
    with pytest.raises(PatternError) as error:
        compile_rule(rule)
    assert str(error.value) == WRONG[rule]


NAMES = st.lists(st.sampled_from(["a", "bc", "0", "12", "w_1"]), min_size=1, max_size=4).map(".".join)
PATTERNS = st.lists(st.sampled_from(["*", "**", "a", "{a,0}", "{0-12}", "b*", "w_{1,2}"]), min_size=1, max_size=4).map(
    ".".join
)


@settings(deadline=None)
@given(PATTERNS, NAMES)
def test_the_pattern_itself_on_the_right_changes_nothing(pattern: str, name: str) -> None:
    """And a rule fits what its pattern fits."""
    collapsed = pattern
    while "**.**" in collapsed:
        collapsed = collapsed.replace("**.**", "**")
    fits = compile_pattern(pattern).fullmatch(name) is not None
    assert compile_rule(f"{pattern}={collapsed}").rename(name) == (name if fits else None)
