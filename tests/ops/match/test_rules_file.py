"""A match as rules: few, readable, and they make what the match makes, from a file as well."""

from pathlib import Path

import numpy as np
import pytest
import torch

import statedict as sd
from statedict.editing import edited, edits_of
from statedict.matching import write_rules
from statedict.ops.match.matching import match
from statedict.ops.match.rules_file import rules_toml
from tests import architectures, planted
from tests.ops.match.test_matching import FEW, found


def assert_same_by_file(source: planted.State, target: planted.State, path: Path) -> None:
    tree = sd.open(dict(source))
    made = match(tree, sd.open(dict(target)), values=False)
    write_rules(made, path)
    wanted, state = made.apply(tree).state_dict(), edited(tree, edits_of(str(path))).state_dict()
    assert set(state) == set(wanted)
    assert all(np.array_equal(state[name].numpy(), wanted[name].numpy()) for name in wanted)


@pytest.mark.parametrize("plant", planted.PLANTED)
@pytest.mark.parametrize("name", FEW)
def test_round_trip(name: str, plant: str, tmp_path: Path) -> None:
    target = planted.state(name)
    assert_same_by_file(planted.PLANTED[plant](target), target, tmp_path / "rules.toml")


@pytest.mark.slow
def test_round_trip_of_every_architecture(tmp_path: Path) -> None:
    for name in architectures.names()[1::4]:
        target = planted.state(name)
        assert_same_by_file(planted.everything(target), target, tmp_path / "rules.toml")


def test_few_rules_for_many_layers() -> None:
    target = {f"encoder.layers.{i}.fc.{n}": torch.zeros(2) for i in range(12) for n in ("weight", "bias")}
    source = {f"module.h.{i + 1}.dense.{n}": torch.zeros(2) for i in range(12) for n in ("weight", "bias")}
    made = found(source, target)
    assert [str(rule) for rule in made.rules] == ["module.h.{i}.dense.* = encoder.layers.{i-1}.fc.*"]


def test_a_prefix_is_one_rule() -> None:
    target = planted.state("llama")
    assert [str(rule) for rule in found(planted.prefixed(target), target).rules] == ["model._orig_mod.** = **"]


def test_the_file() -> None:
    target = {"a.weight": torch.zeros(4, 3), "b.weight": torch.zeros(7, 3), "c.weight": torch.zeros(5)}
    source = {"m.a.weight": torch.zeros(4, 3), "m.b.weight": torch.zeros(3, 7), "extra\n": torch.zeros(2)}
    assert rules_toml(found(source, target)) == (
        "# The target has these, the source not: c.weight\n"
        "# Nothing of the target is made of these.\n"
        'drop = [\n    "extra\\u000a",\n]\n\n'
        '[[make]]  # 1: by name\nfrom = "m.a.*"\nto = "a.*"\n\n'
        '[[make]]  # 1: by name\nfrom = "m.b.weight"\nto = "b.weight"\ntranspose = true\n'
    )


def test_renames_that_follow_one_another() -> None:
    """What one after the other would rename twice is done at once."""
    chain = {"x.a.weight": torch.zeros(2), "x.b.weight": torch.zeros(3)}
    swapped = {"x.b.weight": torch.zeros(2), "x.a.weight": torch.zeros(3)}
    made = found(chain, swapped)
    assert "[[make]]" in rules_toml(made)
    assert "[[rename]]" in rules_toml(found(planted.prefixed(chain), chain))


def test_a_name_that_no_rule_can_have() -> None:
    made = found({"p.a=b.weight": torch.zeros(2)}, {"a=b.weight": torch.zeros(2)})
    assert (len(made.lines), made.rules) == (1, ())


def test_one_name_that_means_two_things(tmp_path: Path) -> None:
    """`mlp.gate` is a matrix of the first layers, and the router of the others."""
    source: planted.State = {}
    target: planted.State = {}
    for layer in range(6):
        ours, theirs = f"net.blocks.{layer}.mlp", f"model.layers.{layer}.mlp"
        sizes = {"gate": (16, 8), "up": (16, 8), "down": (8, 16)}
        if layer < 2:
            source |= {f"{ours}.{name}.weight": torch.zeros(size) for name, size in sizes.items()}
            target |= {f"{theirs}.{name}_proj.weight": torch.zeros(size) for name, size in sizes.items()}
            continue
        source |= {f"{ours}.gate.weight": torch.zeros(4, 8)}
        target |= {f"{theirs}.gate.weight": torch.zeros(4, 8)}
        for expert in range(4):
            source |= {f"{ours}.expert.{expert}.{name}.weight": torch.zeros(size) for name, size in sizes.items()}
            target |= {
                f"{theirs}.experts.{expert}.{name}_proj.weight": torch.zeros(size) for name, size in sizes.items()
            }
    rules = [str(rule) for rule in found(source, target).rules]
    assert "net.blocks.{0-1}.mlp.gate.* = model.layers.{0-1}.mlp.gate_proj.*" in rules
    assert "net.blocks.{2-5}.mlp.gate.* = model.layers.{2-5}.mlp.gate.*" in rules
    assert_same_by_file(source, target, tmp_path / "rules.toml")


def test_a_group_takes_no_name_that_is_made_otherwise(tmp_path: Path) -> None:
    """`{i}` is any part of a name: what is beside numbers stays as it is."""
    source = {f"m.layers.{i}.w.weight": torch.zeros(i + 2) for i in range(3)} | {
        "m.layers.last.w.weight": torch.zeros(9)
    }
    target = {f"layers.{i}.w.weight": torch.zeros(i + 2) for i in range(3)} | {"final.w.weight": torch.zeros(9)}
    assert_same_by_file(source, target, tmp_path / "rules.toml")
