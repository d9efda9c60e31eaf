"""Rules that a person changed: what they make, what is then missing, and the file that does the same."""

import tomllib
from pathlib import Path

import numpy as np

import statedict as sd
from statedict.editing import edited, edits_of
from statedict.ops.making import MakeRule
from statedict.ops.match.revising import Misfit, revised

SOURCE = sd.open({"a.0.w": np.ones((4, 2)), "a.1.w": np.ones((4, 2)), "odd": np.ones(3), "same": np.ones(2)})
TARGET = sd.open({"b.0.w": np.ones((4, 2)), "b.1.w": np.ones((2, 4)), "same": np.ones(2), "new": np.ones(1)})


def test_what_rules_make() -> None:
    found = revised([MakeRule(("a.{i}.w",), ("b.{i}.w",))], SOURCE, TARGET)
    assert [(each.tensors, each.error) for each in found.rules] == [(2, "")]
    assert (found.made, found.kept) == (2, 1)
    assert (found.missing, found.unexpected, found.stray) == (("new",), ("odd",), ())
    assert found.mismatched == (Misfit("b.1.w", "a.1.w", (2, 4), (4, 2)),)


def test_a_rule_that_makes_nothing_says_why() -> None:
    found = revised([MakeRule(("c.{i}.w",), ("b.{i}.w",)), MakeRule(("odd",), ("stray",))], SOURCE, TARGET)
    assert found.rules[0].tensors == 0
    assert found.rules[0].error.startswith("`c.{i}.w` matches no name")
    assert found.stray == ("stray",)
    assert set(found.missing) == {"b.0.w", "b.1.w", "new"}


def test_a_rule_that_cannot_be_done_says_why() -> None:
    found = revised([MakeRule(("a.{i}.w",), ("b.w",))], SOURCE, TARGET)
    assert "would both be `b.w`" in found.rules[0].error
    cut = revised([MakeRule(("odd",), ("x", "y"))], SOURCE, TARGET)
    assert "cannot be cut into 2 even parts" in cut.rules[0].error


def test_the_file_does_what_was_told(tmp_path: Path) -> None:
    rules = [MakeRule(("a.0.w",), ("b.0.w",)), MakeRule(("a.1.w",), ("b.1.w",), transpose=True)]
    found = revised(rules, SOURCE, TARGET)
    assert (found.made, found.mismatched) == (3, ())
    file = tmp_path / "rules.toml"
    file.write_text(found.toml())
    assert tomllib.loads(found.toml())["drop"] == ["odd"]
    made = edited(SOURCE, edits_of(str(file)))
    assert {name: tensor.shape for name, tensor in made.state_dict().items()} == {
        "b.0.w": (4, 2),
        "b.1.w": (2, 4),
        "same": (2,),
    }
