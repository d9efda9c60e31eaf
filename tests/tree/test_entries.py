"""`entries`: the dict that `torch.load` returns, whatever it holds beside tensors."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.narrow import is_dict, is_list, is_tuple
from statedict.tree.entries import entries


def plain(value: Any) -> Any:
    """The same with the numbers of tensors, ours and PyTorch's, and the keys of the outermost dict as texts."""
    if isinstance(value, sd.Tensor | torch.Tensor):
        return "tensor", value.tolist()
    if is_dict(value):
        return {key: plain(each) for key, each in value.items()}
    if is_list(value) or is_tuple(value):
        return type(value)(plain(each) for each in value)
    return value


STATE = nn.BatchNorm1d(2).state_dict()


@pytest.mark.parametrize(
    "held",
    [
        STATE,
        {"a": torch.ones(2), "b.c": torch.zeros(1), "b.d.e": torch.ones(())},
        {"a": torch.ones(2), "epoch": 3, "name.with.dots": "x", "none": None},
        {"a.b": {"t": torch.ones(3), 4: [1, torch.ones(1), None], "e": {}}, "a.c": STATE["bias"], "a": STATE["bias"]},
        {"row": [torch.ones(1), [torch.ones(2), (torch.ones(3), "x")]], "pair": (1, torch.ones(1)), "plain": [{}, []]},
        {"model": STATE, "optimizer": {"state": {0: {"step": torch.ones(())}}, "param_groups": [{"params": [0]}]}},
        {"state_dict": {}, "step": 0},
    ],
)  # fmt: skip
def test_it_is_what_torch_loads(held: dict[str, Any], tmp_path: Path) -> None:
    torch.save(held, tmp_path / "held.pt")
    found = entries(sd.open(tmp_path / "held.pt"))
    assert plain(dict(found)) == plain(dict(torch.load(tmp_path / "held.pt")))


def test_keys_are_texts(tmp_path: Path) -> None:
    torch.save({7: torch.ones(1), (1, 2): 3}, tmp_path / "held.pt")
    assert list(entries(sd.open(tmp_path / "held.pt"))) == ["7", "(1, 2)"]


def test_versions_stay(tmp_path: Path) -> None:
    state: Any = OrderedDict(nn.Sequential(nn.BatchNorm1d(2)).state_dict(), epoch=1)
    state._metadata = OrderedDict({"": {"version": 1}, "0": {"version": 2}})
    torch.save(state, tmp_path / "held.pt")
    found: Any = entries(sd.open(tmp_path / "held.pt"))
    assert found._metadata["0"] == {"version": 2}
    assert list(found) == list(state)


def test_a_model_has_its_state_dict(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    torch.save(net, tmp_path / "net.pt")
    for checkpoint in (net, tmp_path / "net.pt"):
        assert plain(entries(sd.open(checkpoint))) == plain(net.state_dict())
