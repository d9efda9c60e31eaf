"""Models on the meta device come to life, in memory of their own or over the pages of a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import statedict as sd
from statedict.source import FileSource
from tests.loading_twice import Tied, assert_same_state, on_meta, scrambled
from tests.same import bits


def test_meta_models_come_to_life(tmp_path: Path) -> None:
    net = Tied()
    net.frozen.extra = "kept"  # type: ignore[attr-defined]
    torch.save(net.state_dict(), tmp_path / "net.pt")
    mine: Any = on_meta(Tied)
    mine.frozen.extra = "kept"
    result = sd.load_into(mine, tmp_path / "net.pt")
    assert_same_state(mine, net)
    assert mine.head.weight is mine.embedding.weight
    assert not mine.frozen.requires_grad
    assert mine.frozen.extra == "kept"
    assert mine.rnn(torch.zeros(1, 1, 4))[0].shape == (1, 1, 4)
    assert result.untouched == ("positions",)
    assert mine.positions.is_meta


def test_meta_models_with_code_of_their_own(tmp_path: Path) -> None:
    def make() -> nn.Module:
        return nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))

    net = make()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    mine = on_meta(make)
    sd.load_into(mine, tmp_path / "net.pt")
    assert torch.equal(mine(torch.ones(3)), net(torch.ones(3)))


def test_a_fault_leaves_a_meta_model_on_meta(tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 2, bias=False).state_dict(), tmp_path / "net.pt")
    mine = on_meta(lambda: nn.Linear(3, 2))
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"bias\""):
        sd.load_into(mine, tmp_path / "net.pt")
    assert all(each.is_meta for each in mine.parameters())
    assert sd.load_into(mine, tmp_path / "net.pt", strict=False).untouched == ("bias",)
    assert [each.is_meta for each in mine.parameters()] == [False, True]


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_meta_models_over_the_pages_of_a_file(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net: Any = Tied()
    path = tmp_path / f"net.{suffix}"
    if suffix == "pt":
        net.rnn.weight_ih_l0.data = net.rnn.weight_ih_l0.data.t().contiguous().t()
        torch.save(net.state_dict(), path)
    else:
        safetensors.torch.save_model(net, str(path))
    stored = path.read_bytes()
    mine: Any = on_meta(Tied)
    tree = sd.open(path)
    monkeypatch.setattr(FileSource, "readinto_at", None)  # nothing is read
    result = sd.load_into(mine, tree, mmap=True)
    assert {name: bits(value) for name, value in mine.state_dict().items()} == {
        name: bits(value) for name, value in net.state_dict().items()
    }
    assert mine.head.weight is mine.embedding.weight
    assert result.untouched == ("positions",)
    with torch.no_grad():
        mine.head.weight.fill_(9)
    assert path.read_bytes() == stored
    path.unlink()
    assert mine.frozen.tolist() == [1, 1, 1]


def test_pages_of_a_file_are_not_taken_where_they_do_not_fit(tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    mine = on_meta(lambda: nn.Linear(3, 2, dtype=torch.bfloat16))
    sd.load_into(mine, tmp_path / "net.pt", mmap=True)
    assert torch.equal(mine.get_parameter("weight"), net.weight.bfloat16())
    live = scrambled(net)
    sd.load_into(live, tmp_path / "net.pt", mmap=True)
    assert_same_state(live, net)
    np.savez_compressed(tmp_path / "net.npz", **{name: value.numpy() for name, value in net.state_dict().items()})
    mine = on_meta(lambda: nn.Linear(3, 2))
    sd.load_into(mine, tmp_path / "net.npz", mmap=True)
    assert_same_state(mine, net)
