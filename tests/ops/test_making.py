"""`make`: what rules make of tensors, against PyTorch's own joining, cutting, stacking and transposing."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import statedict as sd
from statedict.ops.making import make, rule_of

State = dict[str, torch.Tensor]


def made(given: Mapping[str, torch.Tensor], *rules: Any) -> State:
    """What the rules make of a state dict."""
    tree = make(sd.open(dict(given)), [rule_of(rule) for rule in rules])
    return {name: tensor.torch() for name, tensor in tree.state_dict().items()}


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def attention(dim: int = 4) -> State:
    names = ("q", "k", "v")
    return {f"h.{i}.{n}.{w}": torch.randn((dim, 3) if w == "weight" else (dim,))
            for i in range(2) for n in names for w in ("weight", "bias")}  # fmt: skip


FUSE = {"from": ["h.{i}.q.*", "h.{i}.k.*", "h.{i}.v.*"], "to": "h.{i}.qkv.*"}
CUT = {"from": "h.{i}.qkv.*", "to": ["h.{i}.q.*", "h.{i}.k.*", "h.{i}.v.*"]}


def test_joined_and_cut_again() -> None:
    given = attention()
    fused = made(given, FUSE)
    assert sorted(fused) == ["h.0.qkv.bias", "h.0.qkv.weight", "h.1.qkv.bias", "h.1.qkv.weight"]
    assert torch.equal(fused["h.1.qkv.weight"], torch.cat([given[f"h.1.{n}.weight"] for n in "qkv"]))
    assert same(made(fused, CUT), given)


@given(heads=st.integers(1, 3), size=st.integers(1, 3), width=st.integers(1, 3))
def test_interleaved_in_heads(heads: int, size: int, width: int) -> None:
    given = {f"h.0.{n}.weight": torch.randn(heads * size, width) for n in "qkv"}
    fused = made(given, FUSE | {"heads": heads})["h.0.qkv.weight"]
    parts = torch.stack([given[f"h.0.{n}.weight"].view(heads, size, width) for n in "qkv"], 1)
    assert torch.equal(fused, parts.reshape(-1, width))
    assert same(made({"h.0.qkv.weight": fused}, CUT | {"heads": heads}), given)


@given(heads=st.integers(1, 4), half=st.integers(1, 4), width=st.integers(1, 3))
def test_rows_of_rotary_embeddings(heads: int, half: int, width: int) -> None:
    """As `transformers` converts Meta's Llama: pairs of rows become halves."""
    given = {"wq.weight": torch.randn(heads * half * 2, width)}
    rule = {"from": "wq.*", "to": "q.*", "rotary": heads}
    found = made(given, rule)
    halves = given["wq.weight"].view(heads, half, 2, width).transpose(1, 2).reshape(-1, width)
    assert torch.equal(found["q.weight"], halves)
    assert same(made(found, {"from": "q.*", "to": "wq.*", "rotary": -heads}), given)


def test_uneven_parts_along_another_dimension() -> None:
    given = {"kv": torch.randn(3, 7)}
    found = made(given, {"from": "kv", "to": ["k", "v"], "dim": 1, "sizes": [5, 2]})
    assert same(found, {"k": given["kv"][:, :5], "v": given["kv"][:, 5:]})


def test_stacked_in_the_order_of_numbers_and_taken_apart() -> None:
    given = {f"experts.{e}.w.weight": torch.randn(2, 3) for e in (0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9)}
    stacked = made(given, {"from": "experts.{e}.w.weight", "to": "experts.w", "stack": True})
    assert torch.equal(stacked["experts.w"], torch.stack([given[f"experts.{e}.w.weight"] for e in range(11)]))
    again = made(stacked, {"from": "experts.w", "to": "experts.{e}.w.weight", "unstack": True})
    assert sorted(again) == sorted(given)
    assert same(dict(sorted(again.items())), dict(sorted(given.items())))


def test_joined_pieces_of_each_of_a_stack() -> None:
    given = {f"e.{e}.{n}.weight": torch.randn(2, 3) for e in range(3) for n in ("gate", "up")}
    rule = {"from": ["e.{e}.gate.weight", "e.{e}.up.weight"], "to": "e.gate_up", "stack": True}
    wanted = torch.stack([torch.cat([given[f"e.{e}.gate.weight"], given[f"e.{e}.up.weight"]]) for e in range(3)])
    assert torch.equal(made(given, rule)["e.gate_up"], wanted)


def test_dimensions_in_another_order() -> None:
    kernel = torch.randn(3, 5, 4, 2)
    rule = {"from": "conv.kernel", "to": "conv.weight", "permute": [3, 2, 0, 1]}
    assert str(rule_of(rule)) == "conv.kernel = conv.weight (permute=[3, 2, 0, 1])"
    assert rule_of(rule_of(rule).table()) == rule_of(rule)
    assert same(made({"conv.kernel": kernel}, rule), {"conv.weight": kernel.permute(3, 2, 0, 1)})
    with pytest.raises(sd.StatedictError, match=r"its 4 dimensions cannot be put in the order \[1, 0\]"):
        made({"conv.kernel": kernel}, rule | {"permute": [1, 0]})


def test_transposed_reshaped_and_tied() -> None:
    given = {"a": torch.randn(2, 3), "b": torch.randn(2, 3, 4, 4), "c": torch.randn(5)}
    found = make(
        sd.open(dict(given)),
        [rule_of({"from": "a", "to": "a", "transpose": True}), rule_of({"from": "b", "to": "B", "shape": [2, 48]}),
         rule_of({"from": "c", "to": ["c", "d"], "tie": True})],
    )  # fmt: skip
    state = found.state_dict()
    assert torch.equal(state["a"].torch(), given["a"].T)
    assert torch.equal(state["B"].torch(), given["b"].reshape(2, 48))
    assert found.c is found.d


def test_all_rules_at_once() -> None:
    """One after the other, `b` would become what `a` was made of."""
    given = {"a": torch.zeros(1), "b": torch.ones(1), "layers.0.w": torch.ones(2), "layers.1.w": torch.zeros(2)}
    found = made(given, "a=b", "b=a", "layers.{i}.w=layers.{i+1}.w")
    assert same(found, {"b": given["a"], "a": given["b"], "layers.1.w": given["layers.0.w"],
                        "layers.2.w": given["layers.1.w"]})  # fmt: skip


def test_what_no_rule_fits_stays_with_its_module() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    tree = make(sd.open(net), [rule_of({"from": "0.weight", "to": "first.weight", "transpose": True})])
    assert list(tree.state_dict()) == ["0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
                                       "1.num_batches_tracked", "first.weight"]  # fmt: skip
    assert tree.get_submodule("1").kind == "BatchNorm1d"


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "no table": (3, sd.PatternError, "`make` holds `3`; expected tables"),
    "another key": ({"from": "a", "to": "b", "axis": 1}, sd.PatternError, "expected tables of `from`, `to` and some"),
    "no name": ({"from": [], "to": "b"}, sd.PatternError, "whose `from` cannot be `()`"),
    "a number as a name": ({"from": 5, "to": "b"}, sd.PatternError, "whose `from` cannot be `5`"),
    "a text as a dimension": ({"from": "a", "to": "b", "dim": "0"}, sd.PatternError, "whose `dim` cannot be `0`"),
    "no heads": ({"from": "a", "to": ["b", "c"], "heads": 0}, sd.PatternError, "whose `heads` cannot be `0`"),
    "several of several": ({"from": ["a", "b"], "to": ["c", "d"]}, sd.PatternError, "several of several"),
    "no group": ({"from": "a", "to": "b.{i}"}, sd.PatternError, "`{i}` on the right stands for"),
    "fits nothing": ({"from": "x", "to": "b"}, sd.PatternError, "`x` matches no name"),
    "not even": ({"from": "a", "to": ["b", "c"]}, sd.StatedictError, "a size of 3 cannot be cut into 2 even parts"),
    "no such dimension": ({"from": "a", "to": ["b", "c"], "dim": 4}, sd.StatedictError, "has no dimension 4"),
    "another size": ({"from": "a", "to": ["b", "c"], "sizes": [1, 1]}, sd.StatedictError, "cannot be cut into 1, 1"),
    "no heads of that": ({"from": "a", "to": ["b", "c"], "heads": 2}, sd.StatedictError, "cannot be that of 2 heads"),
    "no pairs": ({"from": "a", "to": "b", "rotary": 2}, sd.StatedictError, "has no 2 heads of pairs of rows"),
    "another shape": ({"from": "a", "to": "b", "shape": [7]}, sd.StatedictError, "is invalid for input of size 6"),
    "two of one name": ({"from": "*", "to": "b"}, sd.StatedictError, "would both be `b`; `stack = true` stacks them"),
    "taken": ({"from": "a", "to": "z"}, sd.StatedictError, "1 name would be that of several tensors: `z`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_rules(case: str) -> None:
    rule, kind, said = WRONG[case]
    with pytest.raises(kind) as error:
        made({"a": torch.zeros(3, 2), "z": torch.zeros(1)}, rule)
    assert said in str(error.value)


@pytest.mark.parametrize("rule", [FUSE, CUT, FUSE | {"heads": 2, "dim": 1}, {"from": "a", "to": "b", "shape": [2, 3]}])
def test_a_table_and_back(rule: Any) -> None:
    assert rule_of(rule).table() == rule
