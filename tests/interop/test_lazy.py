"""Code that runs as a model loads (hooks, versions, extra state) is given tensors that nobody has read yet."""

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

import statedict as sd
from tests.loading_twice import assert_same_state, ours, scrambled, theirs


class Recorder(nn.Module):
    """Loading code that uses its values, pops keys, and sets attributes to what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0))
        self.inner = nn.Linear(2, 2)
        self.register_buffer("scale", torch.ones(1))
        self.sums: list[float] = []

    def _load_from_state_dict(self, state_dict: Any, prefix: Any, *rest: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        old = state_dict.pop(prefix + "old", None)
        if old is not None:
            assert type(old) is torch.Tensor
            state_dict[prefix + "weight"] = torch.cat([old, old])
            state_dict[prefix + "inner.weight"] = state_dict.pop(prefix + "inner.w")
        if prefix + "scale" in state_dict:
            self.scale = state_dict[prefix + "scale"]
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self.sums.append(float(self.weight.sum()))


def test_modules_that_load_themselves(tmp_path: Path) -> None:
    net = nn.Sequential(Recorder(), nn.Linear(2, 2))
    old: dict[str, Any] = dict(net.state_dict())
    del old["0.weight"]
    old |= {"0.old": torch.full((3,), 5.0), "0.inner.w": old.pop("0.inner.weight"), "0.scale": torch.full((1,), 4.0)}
    for state in (net.state_dict(), old):
        torch.save(state, tmp_path / "net.pt")
        mine, reference = scrambled(net), scrambled(net)
        theirs(reference, torch.load(tmp_path / "net.pt"))
        result = sd.load_into(mine, tmp_path / "net.pt")
        assert_same_state(mine, reference)
        assert mine[0].sums == reference[0].sums
        assert result.untouched == ()
        assert "_load_from_state_dict" not in vars(mine[0])


def test_hooks_before_and_after(tmp_path: Path) -> None:
    class Hooked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body: Any = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
            self.doubled = torch.zeros(())
            self.register_load_state_dict_pre_hook(self.before)
            self.register_load_state_dict_post_hook(self.after)

        def before(self, _: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
            for name in [name for name in state if name.startswith(prefix + "trunk.")]:
                state[prefix + "body." + name.removeprefix(prefix + "trunk.")] = state.pop(name)
            if prefix + "body.1.weight" not in state:
                state[prefix + "body.1.weight"] = state[prefix + "body.0.weight"] * 2

        def after(self, _: nn.Module, keys: Any) -> None:
            self.doubled = self.body[0].weight.sum() * 2
            keys.unexpected_keys.clear()

    net = nn.Sequential(Hooked())
    state = {
        name.replace("body", "trunk"): value for name, value in net.state_dict().items() if name != "0.body.1.weight"
    }
    torch.save({**state, "0.trunk.gone": torch.ones(1)}, tmp_path / "net.pt")
    mine, reference = scrambled(net), scrambled(net)
    said = theirs(reference, torch.load(tmp_path / "net.pt"))
    assert tuple(sd.load_into(mine, tmp_path / "net.pt")) == tuple(said)
    assert_same_state(mine, reference)
    assert torch.equal(mine[0].doubled, reference[0].doubled)
    assert len(mine[0]._load_state_dict_post_hooks) == 1


def test_what_hooks_leave_in_the_model_is_read(tmp_path: Path) -> None:
    net: Any = nn.Module()

    def keep(module: Any, state: Mapping[str, Any], *rest: Any) -> None:
        module.resized = nn.Parameter(state["resized"])
        module.seen = state["resized"]

    net.register_parameter("resized", nn.Parameter(torch.ones(1)))
    net.register_load_state_dict_pre_hook(keep)
    torch.save({"resized": torch.arange(3.0)}, tmp_path / "net.pt")
    result = sd.load_into(net, tmp_path / "net.pt")
    assert result.loaded == ("resized",)
    assert type(net.seen) is torch.Tensor
    assert type(net.resized) is nn.Parameter
    assert net.resized.tolist() == net.seen.tolist() == [0, 1, 2]


def test_a_model_with_its_own_load_state_dict(tmp_path: Path) -> None:
    class Own(nn.Linear):
        total = 0.0

        def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
            keys = super().load_state_dict({name.upper().lower(): value for name, value in state_dict.items()}, strict)
            self.total = float(self.weight.sum())
            return keys

    net = Own(3, 2)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    mine = scrambled(net)
    sd.load_into(mine, tmp_path / "net.pt")
    assert mine.total == float(net.weight.sum())


def test_versions_bring_old_files_up_to_date(tmp_path: Path) -> None:
    net: Any = nn.Sequential(nn.BatchNorm1d(3))
    state: Any = OrderedDict((name, value) for name, value in net.state_dict().items() if "num" not in name)
    for version in (None, 1, 2):
        state._metadata = OrderedDict() if version is None else OrderedDict({"0": {"version": version}})
        torch.save(state, tmp_path / "net.pt")
        mine, reference = scrambled(net), scrambled(net)
        said = theirs(reference, torch.load(tmp_path / "net.pt"))
        result = ours(mine, tmp_path / "net.pt")
        assert result.startswith(said) if version == 2 else tuple(result) == tuple(said)
    del state._metadata
    sd.load_into(net, {name: value + 1 for name, value in state.items()})
    assert net[0].bias.tolist() == [1, 1, 1]


def test_extra_state(tmp_path: Path) -> None:
    class Counting(nn.Linear):
        state: Any = None

        def get_extra_state(self) -> Any:
            return self.state

        def set_extra_state(self, state: Any) -> None:
            self.state = state

    net: Any = nn.Sequential(Counting(2, 2))
    for state in (
        {"steps": 4, "mean": torch.ones(2), "how": torch.float16, "rows": [torch.zeros(1), 2]},
        3,
        torch.ones(3),
        None,
    ):
        net[0].state = state
        torch.save(net.state_dict(), tmp_path / "net.pt")
        mine: Any = nn.Sequential(Counting(2, 2))
        result = sd.load_into(mine, tmp_path / "net.pt")
        assert str(mine[0].state) == str(state)
        assert "0._extra_state" in result.loaded
    torch.save(nn.Sequential(nn.Linear(2, 2)).state_dict(), tmp_path / "net.pt")
    assert ours(mine, tmp_path / "net.pt").startswith(str(theirs(mine, torch.load(tmp_path / "net.pt"))))


def test_quantised_modules(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    quantize: Any = cast("Any", torch.ao.quantization).quantize_dynamic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: Any = quantize(net, {nn.Linear}, dtype=torch.qint8)
        mine: Any = quantize(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), {nn.Linear})
        torch.save(made.state_dict(), tmp_path / "net.pt")
        result = sd.load_into(mine, tmp_path / "net.pt")
    assert torch.equal(mine(torch.ones(1, 4)), made(torch.ones(1, 4)))
    assert set(result.loaded) == set(made.state_dict())


def test_scripted_modules(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine: Any = torch.jit.script(scrambled(net))
    result = sd.load_into(mine, tmp_path / "net.pt")
    assert_same_state(mine, net)
    assert result.untouched == ()


def test_swapping_instead_of_copying(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    mine = scrambled(net)
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        assert sd.load_into(mine, tmp_path / "net.pt").untouched == ()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    assert_same_state(mine, net)
