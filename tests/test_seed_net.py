"""The founding network, saved in every PyTorch form and in safetensors, against the live one."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import statedict as sd
from tests.same import assert_same_model, assert_same_state_dict, assert_same_tensor
from tests.seed_net import Net


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def in_zip(what: object, path: Path) -> None:
    torch.save(what, path)


def in_stream(what: object, path: Path) -> None:
    torch.save(what, path, _use_new_zipfile_serialization=False)


saved = pytest.mark.parametrize("save", [in_zip, in_stream])
Save = Callable[[object, Path], None]


@saved
def test_a_whole_model_file_is_the_live_model(net: Net, tmp_path: Path, save: Save) -> None:
    save(net, tmp_path / "net.pt")
    model = sd.open(tmp_path / "net.pt")
    assert len(list(model.named_modules())) == 15
    assert len(list(model.children())) == 2
    assert all(name.endswith((".weight", ".bias")) for name, _ in model.named_parameters())
    for (name, ours), (_, theirs) in zip(model.named_modules(), net.named_modules(), strict=True):
        assert repr(ours) == repr(theirs), name
    assert_same_model(model, net)


@saved
def test_a_state_dict_file_has_the_same_keys_values_and_modules(net: Net, tmp_path: Path, save: Save) -> None:
    save(net.state_dict(), tmp_path / "net.pt")
    model = sd.open(tmp_path / "net.pt")
    assert_same_state_dict(model.state_dict(), net.state_dict())
    assert model.state_dict()._metadata == net.state_dict()._metadata  # type: ignore[attr-defined]
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in net.named_parameters()]
    assert [name for name, _ in model.named_buffers()] == [name for name, _ in net.named_buffers()]
    # PyTorch lists every module beside the tensors, those without tensors too.
    assert [name for name, _ in model.named_modules()] == [name for name, _ in net.named_modules()]


def test_a_safetensors_file_has_the_same_keys_and_values_and_modules_by_number(net: Net, tmp_path: Path) -> None:
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    model = sd.open(tmp_path / "net.safetensors")
    state, expected = model.state_dict(), load_file(tmp_path / "net.safetensors")
    assert sorted(state) == sorted(expected)
    for name, value in expected.items():
        assert_same_tensor(state[name], value, name)
    numbers = [int(name) for name, _ in model.features.named_children()]
    assert numbers == [0, 1, 4, 5]
    assert model.features[4] is model.get_submodule("features.4")
    with pytest.raises(IndexError, match="module 2 holds nothing here; there are 0, 1, 4, 5"):
        model.features[2]
    assert model.features[-1] is model.features[5]
    assert [m is model.features[n] for m, n in zip(model.features[:2], (0, 1), strict=True)] == [True, True]


@saved
def test_a_training_checkpoint_opens_and_its_model_is_a_part_of_it(net: Net, tmp_path: Path, save: Save) -> None:
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.zeros(1, 3, 38, 38)).sum().backward()
    optimizer.step()
    save({"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, tmp_path / "last.ckpt")
    checkpoint = sd.open(tmp_path / "last.ckpt")
    assert checkpoint.epoch == 3
    assert_same_state_dict(checkpoint.model.state_dict(), net.state_dict())
    assert_same_state_dict(sd.open(tmp_path / "last.ckpt", key="model").state_dict(), net.state_dict())
    average = optimizer.state_dict()["state"][0]["exp_avg"]
    assert_same_tensor(checkpoint.get_parameter("optimizer.state.0.exp_avg"), average, "exp_avg")
    assert checkpoint.optimizer.param_groups[0]["lr"] == 1e-3


def test_a_key_that_is_not_there_is_answered_with_the_closest(net: Net, tmp_path: Path) -> None:
    torch.save({"model": net.state_dict(), "epoch": 3}, tmp_path / "last.ckpt")
    with pytest.raises(sd.StatedictError, match=re.escape("has no module `modle`; did you mean `model`")):
        sd.open(tmp_path / "last.ckpt", key="modle")
