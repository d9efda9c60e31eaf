"""Whether our tree of a file is the live model that was saved, in everything that PyTorch's seven views show."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

import statedict as sd


def bits(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor's values, row by row."""
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def assert_same_tensor(ours: Any, theirs: torch.Tensor, name: str) -> None:
    if isinstance(theirs, torch.nn.UninitializedParameter | torch.nn.UninitializedBuffer):
        assert ours.shape is None, name
        return
    assert ours.shape == tuple(theirs.shape), name
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch."), name
    assert ours.stride() == theirs.stride(), name
    if theirs.device.type != "meta":
        assert ours.numpy().tobytes() == bits(theirs), name


def groups(named: Iterable[tuple[str, Any]]) -> list[list[str]]:
    """The names, those of one object together: what is shared, and what is not."""
    found: dict[int, list[str]] = {}
    kept: list[Any] = []  # so that no id is used twice
    for name, held in named:
        kept.append(held)
        found.setdefault(id(held), []).append(name)
    return list(found.values())


def assert_same_state_dict(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        if isinstance(value, torch.Tensor):
            assert_same_tensor(ours[name], value, name)


def assert_same_views(ours: sd.Module, theirs: torch.nn.Module) -> None:
    """All seven views, their order, and what of them is one object."""
    for duplicates in (True, False):
        assert groups(ours.named_modules(remove_duplicate=duplicates)) == groups(
            theirs.named_modules(remove_duplicate=duplicates)
        )
        for view in ("named_parameters", "named_buffers"):
            mine = list(getattr(ours, view)(remove_duplicate=duplicates))
            live = list(getattr(theirs, view)(remove_duplicate=duplicates))
            assert groups(mine) == groups(live), view
            for (name, tensor), (_, expected) in zip(mine, live, strict=True):
                assert_same_tensor(tensor, expected, name)
                assert tensor.requires_grad == expected.requires_grad, name
    assert [name for name, _ in ours.named_children()] == [name for name, _ in theirs.named_children()]
    assert len(list(ours.children())) == len(list(theirs.children()))
    assert len(list(ours.modules())) == len(list(theirs.modules()))
    assert len(list(ours.parameters())) == len(list(theirs.parameters()))


def version(module: torch.nn.Module) -> int:
    """The version that PyTorch writes for a module of its own, and for most others."""
    found = type(module)._version
    return found if isinstance(found, int) else 1


def assert_same_model(ours: sd.Module, theirs: torch.nn.Module, printed: bool = True) -> None:
    """The views, the state dict, and what each module is called and prints (unless not `printed`)."""
    assert_same_views(ours, theirs)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert_same_state_dict(state, expected)
    # A version is an attribute of the class, which a file does not hold: ours are those of PyTorch's own classes.
    versions = {name: {"version": version(live)} for name, live in theirs.named_modules(remove_duplicate=False)}
    assert list(state._metadata) == list(expected._metadata)  # type: ignore[attr-defined]
    assert state._metadata == versions  # type: ignore[attr-defined]
    for (name, mine), (_, live) in zip(ours.named_modules(), theirs.named_modules(), strict=True):
        assert mine.kind == type(live).__name__, name
        assert mine.training == live.training, name
        if printed and type(live).__repr__ is torch.nn.Module.__repr__:
            assert mine.extra_repr() == live.extra_repr(), f"{name}: {type(live)}"
    if printed:
        assert repr(ours) == repr(theirs)
