"""What is around the tensors of a PyTorch zip archive that we write: state dicts, checkpoints, other values."""

import argparse
from collections import OrderedDict
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statedict.dtypes import DTYPES
from statedict.errors import StatedictError
from statedict.formats import torch_zip
from statedict.index import PLAIN, Index, ModuleInfo, TensorInfo
from statedict.source import Extent
from statedict.tree.build import build
from statedict.tree.flat import flatten
from tests.formats.stored import index_of, saved
from tests.formats.test_torch_zip_writing import DATA, assert_equal, loaded, rewritten, written
from tests.written import bytes_of_plan


def test_a_state_dict_with_its_metadata() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.ReLU()))
    assert_equal(rewritten(net.state_dict()), net.state_dict())
    assert written(net.state_dict()).notes == ()


def test_a_whole_model_becomes_its_state_dict() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    net.register_buffer("cache", torch.ones(1), persistent=False)
    plan = written(net)
    assert_equal(loaded(bytes_of_plan(plan)), net.state_dict())
    assert [note.rpartition(": ")[2] for note in plan.notes] == ["`cache`", "`0`, `1`"]


class Extra(torch.nn.Linear):
    def get_extra_state(self) -> Any:
        return {"scale": 2}

    def set_extra_state(self, state: Any) -> None:
        raise AssertionError


def test_extra_states_stand_where_torch_has_them() -> None:
    value = torch.nn.Sequential(Extra(1, 1), torch.nn.Sequential(Extra(1, 1), torch.nn.Linear(1, 1))).state_dict()
    assert_equal(rewritten(value), value)


def checkpoint() -> dict[str, Any]:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(net.parameters(), betas=(0.5, 0.9))
    net(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    return {"epoch": 3, "model": net.state_dict(), "optimizer": optimizer.state_dict(), "loss": [0.5, None, True]}


def test_a_training_checkpoint() -> None:
    value = checkpoint()
    found = rewritten(value)
    assert_equal(found, value)
    assert list(found["optimizer"]["state"]) == [0, 1, 2, 3]


NESTED: dict[str, Any] = {
    "keys that are no texts": {0: torch.ones(1), "0": torch.ones(2), None: {1.5: torch.ones(3), (1, "a"): 2}},
    "entries in any order": {"b": 1, "w": torch.ones(1), "a": {"x": torch.ones(1)}, "c": None, "v": torch.ones(2)},
    "a list at the top": [torch.ones(1), 2, [torch.ones(2)], {"a": 1}],
    "eleven in a list": [torch.full((1,), float(number)) for number in range(11)],
    "a tuple at the top": (1, (torch.ones(1),), ({"w": torch.ones(2)},)),
    "dots in keys": {"a.b": {"w": torch.ones(1)}, "c.d": 3, "a.w": torch.ones(2)},
    "values of many kinds": {
        "w": torch.ones(1),
        "values": [b"\xff", bytearray(b"a"), 1j, {1}, 1 << 1000, float("inf"), (), [], {}, "é\n"],
        "dtype": torch.float16,
        "nested": {"a": [{"b": (1, 2)}]},
    },
    "no tensors": {"a": {"b": 1}, 2: [3]},
    "modules in a list": [torch.nn.Linear(1, 1).state_dict(), torch.nn.BatchNorm1d(1).state_dict()],
}


@pytest.mark.parametrize("case", NESTED)
def test_nested_checkpoints(case: str) -> None:
    assert_equal(rewritten(NESTED[case]), NESTED[case])


KEYS = st.sampled_from(["a", "b", "0", "1", "state"]) | st.integers(0, 3) | st.none()
OBJECTS = st.recursive(
    st.integers(0, 5).map(lambda number: torch.full((number,), float(number)))
    | st.sampled_from([torch.nn.Linear(1, 1).state_dict(), torch.nn.Sequential(torch.nn.BatchNorm1d(2)).state_dict()])
    | st.text(max_size=3)
    | st.integers(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.dictionaries(KEYS, OBJECTS) | st.lists(OBJECTS))
@settings(max_examples=80, deadline=None)
def test_any_nested_checkpoint_survives(value: Any) -> None:
    assert_equal(rewritten(value), value)


def test_dots_in_keys_beside_what_they_would_lead_into() -> None:
    value = {"a": {"x": torch.ones(1), "": 1}, "a.w": torch.ones(2), "a.m": {"w": torch.ones(3)}, "": {"b": 2}}
    assert_equal(loaded(bytes_of_plan(torch_zip.write(index_of(saved(value))))), value)


def test_whole_models_in_a_checkpoint_become_state_dicts_of_their_own() -> None:
    net, other = torch.nn.Linear(2, 3), torch.nn.ModuleDict({"fc": torch.nn.Linear(1, 1)})
    found = loaded(bytes_of_plan(written({"net": net, "row": [other], "epoch": 1})))
    assert_equal(found, {"net": net.state_dict(), "row": [other.state_dict()], "epoch": 1})


def test_containers_that_are_shared_or_hold_themselves() -> None:
    inner, row = {"w": torch.ones(1)}, [torch.ones(2)]
    value: dict[str, Any] = {"a": inner, "b": inner, "row": row}
    row.append(value)  # type: ignore[arg-type]
    found = loaded(bytes_of_plan(torch_zip.write(index_of(saved(value)))))
    assert found["a"] is found["b"]
    assert found["row"][1] is found
    assert list(found) == ["a", "b", "row"]


def test_tensors_among_other_values() -> None:
    weight = torch.ones(2)
    found = rewritten({"w": weight, "groups": [{"params": [weight], "lr": 0.1}]})
    assert_equal(found, {"w": weight, "groups": [{"params": [weight], "lr": 0.1}]})


def test_what_weights_only_would_refuse_is_left_out_and_named() -> None:
    value = {"w": torch.ones(1), "args": argparse.Namespace(lr=1), "hyper": {"f": torch.relu, "lr": 0.1}}
    plan = written(value)
    assert_equal(loaded(bytes_of_plan(plan)), {"w": torch.ones(1), "hyper": {"lr": 0.1}})
    assert len(plan.notes) == 1
    assert all(name in plan.notes[0] for name in ("`args`", "`hyper.f`", "`argparse.Namespace`"))


def test_entries_that_were_added_and_removed() -> None:
    model = build(index_of(saved({"b": 1, "row": [torch.ones(1), torch.ones(2), torch.ones(3)], 5: torch.ones(4)})))
    del model.get_submodule("row")._parameters["1"]
    model.a = 2
    plan = torch_zip.write(flatten(model))
    expected = {"b": 1, "row": [torch.ones(1), torch.ones(3)], 5: torch.ones(4), "a": 2}
    assert_equal(loaded(bytes_of_plan(plan)), expected)
    assert plan.notes == ("lists with missing elements, whose later ones move up: `row`",)


def test_an_index_without_modules_becomes_a_dict() -> None:
    info = TensorInfo("a.w", DTYPES["uint8"], (2,), Extent(DATA, 5, 2), encoding=PLAIN)
    found = loaded(bytes_of_plan(torch_zip.write(Index("memory", DATA, {"a.w": info}))))
    assert_equal(found, {"a.w": torch.tensor([5, 6], dtype=torch.uint8)})


def test_ordered_dicts_are_those_that_have_metadata() -> None:
    assert type(rewritten(OrderedDict(a=torch.ones(1)))) is dict
    assert type(rewritten(torch.nn.Linear(1, 1).state_dict())) is OrderedDict


@pytest.mark.slow
def test_nesting_without_end_is_refused() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    index = Index("memory", DATA, {}, {"": ModuleInfo(container="dict", attributes={"deep": deep})})
    with pytest.raises(StatedictError, match="nested deeper than Python can follow"):
        torch_zip.write(index)
