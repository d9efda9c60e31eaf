"""A checkpoint's elements in a live model's memory: what PyTorch's `copy_` puts there, and nothing beside it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from tests.loading_twice import assert_same_state, holder, on_meta, ours, scrambled, theirs

DTYPES = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "int64", "int8", "uint8", "bool", "complex64")


@pytest.mark.parametrize("to", DTYPES)
def test_casts_as_copy_does(to: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(70, 9, generator=generator) * 100
    values[0, :4] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-42])
    if "int" in to or to == "bool":
        values = values.nan_to_num(5.0, 6.0)  # what these become of a whole number is not defined
    state = {
        f"of {name}": (
            values + 1j
            if "complex" in name
            else values.abs().clamp(max=99)
            if "u" in name
            else values.clamp(-99, 99)
            if "int" in name
            else values
        ).to(getattr(torch, name))
        for name in DTYPES
    }
    torch.save(state, tmp_path / "values.pt")
    mine, reference = (holder({name: torch.ones(70, 9, dtype=getattr(torch, to)) for name in state}) for _ in range(2))
    theirs(reference, state)
    result = ours(mine, tmp_path / "values.pt")
    assert_same_state(mine, reference)
    assert result.cast == {f"of {name}": (name, to) for name in DTYPES if name != to}


@pytest.mark.parametrize(
    "stored", [lambda t: t, lambda t: t.t().contiguous().t(), lambda t: t.repeat(1, 2)[:, 1::2][:, :300]]
)
@pytest.mark.parametrize(
    "live", [lambda t: t, lambda t: t.t().contiguous().t(), lambda t: t.repeat(2, 3)[::2, ::3][:2000]]
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_strides_of_either_side(stored: Any, live: Any, dtype: str, tmp_path: Path) -> None:
    values = torch.arange(600_000.0).reshape(2000, 300) % 2039
    torch.save({"w": stored(values)}, tmp_path / "w.pt")
    room = live(torch.zeros(2000, 300, dtype=getattr(torch, dtype)))
    net = holder({"w": room})
    sd.load_into(net, tmp_path / "w.pt")
    assert torch.equal(room, torch.load(tmp_path / "w.pt")["w"].to(room.dtype))
    assert net.get_buffer("w") is room


def test_memory_outside_a_view_is_not_touched(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(4, 3)}, tmp_path / "w.pt")
    whole = torch.zeros(6, 5)
    sd.load_into(holder({"w": whole[1:5, 1:4]}), tmp_path / "w.pt")
    assert whole.sum() == 12
    assert whole[1:5, 1:4].sum() == 12


def test_views_of_one_memory_are_written_in_their_order(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(6), "b": torch.full((6,), 2.0), "c": torch.full((3,), 3.0)}, tmp_path / "w.pt")
    whole = torch.zeros(8)
    sd.load_into(holder({"a": whole[:6], "b": whole[2:], "c": whole[4:7]}), tmp_path / "w.pt")
    assert whole.tolist() == [1, 1, 2, 2, 3, 3, 3, 2]


def test_autograd_learns_that_values_changed(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    loss = net(net(torch.ones(2))).sum()
    sd.load_into(net, tmp_path / "net.pt")
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_each_byte_is_read_once_and_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Linear(2048, 4096, bias=False)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    tree = sd.open(tmp_path / "net.pt")
    reads: list[int] = []
    source = type(tree.get_parameter("weight").info.extent.source)  # type: ignore[union-attr]
    plain_read = source.readinto_at

    def counted(self: Any, offset: int, buffer: memoryview) -> None:
        reads.append(len(buffer))
        plain_read(self, offset, buffer)

    monkeypatch.setattr(source, "readinto_at", counted)
    for mine, most in ((scrambled(net), 1 << 23), (scrambled(net).bfloat16(), 1 << 20)):
        reads.clear()
        sd.load_into(mine, tree)
        assert sum(reads) == 2048 * 4096 * 4
        assert max(reads) <= most
        assert torch.equal(mine.weight, net.weight.to(mine.weight.dtype))


def test_progress_and_threads(tmp_path: Path) -> None:
    net = nn.Sequential(*(nn.Linear(8, 8) for _ in range(5)))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    for threads in (1, 3):
        told: list[tuple[int, int]] = []
        mine = scrambled(net)
        sd.load_into(
            mine,
            tmp_path / "net.pt",
            threads=threads,
            progress=lambda done, total, told=told: told.append((done, total)),
        )
        assert told[-1] == (5 * 72 * 4, 5 * 72 * 4)
        assert_same_state(mine, net)


def test_a_file_that_ends_while_it_is_read(tmp_path: Path) -> None:
    net = nn.Linear(1000, 1000)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    tree = sd.open(tmp_path / "net.pt")
    with (tmp_path / "net.pt").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(sd.FormatError, match="truncated") as caught:
        sd.load_into(net, tree)
    assert caught.value.__notes__ == ["Some of the model's tensors may have been loaded before that: load it again."]
    mine = on_meta(lambda: nn.Linear(1000, 1000))
    with pytest.raises(sd.FormatError, match="truncated"):
        sd.load_into(mine, tree)
    assert all(each.is_meta for each in mine.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_contexts_that_change_what_pytorch_makes(dtype: torch.dtype, tmp_path: Path) -> None:
    net: Any = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    contexts: list[Any] = [torch.inference_mode(), torch.device("meta"), torch.no_grad()]
    for context in contexts:
        mine = scrambled(net).to(dtype)
        with context:
            assert sd.load_into(mine, tmp_path / "net.pt", threads=2).untouched == ()
        assert {name: value.dtype for name, value in mine.state_dict().items()}["0.weight"] is dtype
        assert torch.equal(mine[0].weight, net[0].weight.to(dtype))
    with torch.inference_mode():
        mine = scrambled(net).to(dtype)  # tensors that PyTorch lets nobody else write to
        assert sd.load_into(mine, tmp_path / "net.pt").untouched == ()
        assert torch.equal(mine[0].weight, net[0].weight.to(dtype))
        mine[0].weight.zero_()
    reference = ours(mine, tmp_path / "net.pt")
    assert "Inplace update to inference tensor outside InferenceMode is not allowed" in reference
