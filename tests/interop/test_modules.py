"""`to_torch`: live PyTorch modules from a file alone, that look, hold and compute as those that were saved."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.interop.modules import Holder, allowed, holders
from tests.same import assert_same_model, groups
from tests.seed_net import Net
from tests.test_whole_models import lstm_of_one_storage, nested_containers, shared_module, tied
from tests.torch_layers import every_layer

LAYERS = every_layer()
_IDS = [f"{i}-{type(m).__name__}" for i, m in enumerate(LAYERS)]


def rebuilt(model: nn.Module, path: Path) -> Any:
    torch.save(model, path / "model.pt")
    return sd.open(path / "model.pt").to_torch()


@pytest.mark.parametrize("number", range(len(LAYERS)), ids=_IDS)
def test_every_torch_nn_class(number: int, tmp_path: Path) -> None:
    model = LAYERS[number]
    made = rebuilt(model, tmp_path)
    assert type(made) is type(model)
    assert repr(made) == repr(model)
    assert_same_model(sd.open(made), model)
    assert vars(made).keys() == vars(model).keys()
    assert holders(made) == {}


INPUTS: dict[type[nn.Module], tuple[int, ...]] = {
    nn.Linear: (2, 3), nn.LazyLinear: (2, 3), nn.Embedding: (2, 3), nn.Conv1d: (2, 4, 9), nn.Conv2d: (2, 4, 9, 9),
    nn.Conv3d: (1, 4, 9, 9, 9), nn.ConvTranspose1d: (2, 4, 9), nn.ConvTranspose2d: (2, 4, 5, 5),
    nn.ConvTranspose3d: (1, 4, 3, 3, 3), nn.LazyConv1d: (2, 4, 9), nn.LazyConv2d: (2, 4, 9, 9),
    nn.BatchNorm1d: (3, 4), nn.BatchNorm2d: (3, 4, 2, 2), nn.BatchNorm3d: (3, 4, 2, 2, 2),
    nn.InstanceNorm1d: (3, 4, 5), nn.InstanceNorm2d: (3, 4, 2, 2), nn.LayerNorm: (3, 2, 4), nn.RMSNorm: (3, 2, 4),
    nn.GroupNorm: (3, 4, 2), nn.LocalResponseNorm: (2, 4, 3), nn.CrossMapLRN2d: (2, 4, 3, 3),
    nn.RNN: (5, 2, 3), nn.LSTM: (5, 2, 3), nn.GRU: (5, 2, 3), nn.RNNCell: (2, 3), nn.LSTMCell: (2, 3),
    nn.GRUCell: (2, 3), nn.PReLU: (2, 4, 3), nn.Upsample: (1, 2, 4, 4), nn.MaxPool2d: (1, 2, 8, 8),
    nn.AvgPool2d: (1, 2, 8, 8), nn.LPPool2d: (1, 2, 8, 8), nn.AdaptiveAvgPool2d: (1, 2, 8, 8),
    nn.PixelShuffle: (1, 4, 2, 2), nn.Flatten: (2, 3, 4), nn.Unflatten: (2, 6), nn.ZeroPad2d: (1, 2, 3, 3),
    nn.ReflectionPad2d: (1, 2, 5, 5), nn.Fold: (1, 12, 8), nn.Unfold: (1, 2, 6, 6),
    nn.TransformerEncoderLayer: (3, 2, 8), nn.TransformerEncoder: (3, 2, 8),
    **dict.fromkeys([nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.ELU, nn.CELU], (2, 4)),
    **dict.fromkeys([nn.LeakyReLU, nn.Hardtanh, nn.GELU, nn.Softplus, nn.Softmax, nn.GLU, nn.Threshold], (2, 4)),
}  # fmt: skip


def runnable() -> list[int]:
    kept = (n for n, layer in enumerate(LAYERS) if type(layer) in INPUTS)
    return [n for n in kept if outputs_of(copy.deepcopy(LAYERS[n])) is not None]


def outputs_of(layer: nn.Module) -> Any:
    """What the layer computes for the input of its class; None where it takes another."""
    torch.manual_seed(0)
    shape = INPUTS[type(layer)]
    if type(layer) is nn.LayerNorm or type(layer) is nn.RMSNorm:
        shape = (3, *layer.normalized_shape)
    given = torch.rand(shape)
    given = (given * 10).long() if type(layer) is nn.Embedding else given
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _numbers(layer.eval()(given))
    except (RuntimeError, ValueError, AssertionError, NotImplementedError):
        return None


def _numbers(outputs: Any) -> Any:
    return outputs.tolist() if isinstance(outputs, torch.Tensor) else [_numbers(each) for each in outputs]


@pytest.mark.slow
def test_most_of_them_run() -> None:
    """Those whose inputs are of another kind are few."""
    assert len(runnable()) >= 85
    assert len({type(LAYERS[number]) for number in runnable()}) >= 50


@pytest.mark.parametrize("number", [n for n, layer in enumerate(LAYERS) if type(layer) in INPUTS])
def test_they_compute_what_the_saved_ones_do(number: int, tmp_path: Path) -> None:
    layer = copy.deepcopy(LAYERS[number])
    torch.manual_seed(1)
    made = rebuilt(layer, tmp_path)
    if any(torch.nn.parameter.is_lazy(parameter) for parameter in layer.parameters()):
        torch.manual_seed(2)
        expected = outputs_of(layer)
        for name, parameter in made.named_parameters():
            assert torch.nn.parameter.is_lazy(parameter), name
        outputs_of(made)
        made.load_state_dict(layer.state_dict())
        assert outputs_of(made) == expected
        return
    assert outputs_of(made) == outputs_of(layer)


def test_the_founding_network_runs_from_the_file_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Net()
    net(torch.rand(4, 3, 38, 38))  # so that the batch norms have counted
    made = rebuilt(net.eval(), tmp_path)
    images = torch.rand(2, 3, 38, 38)
    features = made.features(images)
    assert torch.equal(features, net.features(images))
    assert torch.equal(made.classifier(features.flatten(1)), net(images))
    assert isinstance(made, Holder)
    assert holders(made) == {"": "tests.seed_net.Net"}
    with pytest.raises(NotImplementedError, match=r"`tests.seed_net.Net` is no class of torch.nn.*to_torch\(\{\"tests"):
        made(images)


def test_a_class_that_is_given_is_used(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Net().eval()
    torch.save(net, tmp_path / "net.pt")
    made = sd.open(tmp_path / "net.pt").to_torch({"tests.seed_net.Net": Net})
    images = torch.rand(2, 3, 38, 38)
    assert type(made) is Net
    assert torch.equal(made(images), net(images))
    with pytest.raises(TypeError, match=r"given for `tests\.seed_net\.Net`, is no subclass"):
        sd.open(tmp_path / "net.pt").to_torch({"tests.seed_net.Net": int})  # type: ignore[dict-item]


def test_training_goes_on(tmp_path: Path) -> None:
    made = rebuilt(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)).requires_grad_(), tmp_path)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    before = made[0].weight.detach().clone()
    made(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(made[0].weight, before)


@pytest.mark.parametrize("make", [tied, shared_module, nested_containers, lstm_of_one_storage])
def test_what_was_shared_is_shared(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    model = make()
    made = rebuilt(model, tmp_path)
    assert_same_model(sd.open(made), model)
    for view in ("named_modules", "named_parameters"):
        assert groups(getattr(made, view)(remove_duplicate=False)) == groups(
            getattr(model, view)(remove_duplicate=False)
        )


def test_a_module_that_holds_its_parent_ends(tmp_path: Path) -> None:
    parent = nn.Sequential(nn.Linear(2, 2))
    parent[0].add_module("up", parent)
    made = rebuilt(parent, tmp_path)
    assert made.get_submodule("0.up") is made


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh, nn.functional.gelu, nn.functional.silu, nn.GELU()])
def test_functions_of_torch_are_found(activation: Any, tmp_path: Path) -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, activation=activation).eval()
    given = torch.rand(3, 2, 8)
    assert torch.equal(rebuilt(model, tmp_path)(given), model(given))


def own_activation(x: torch.Tensor) -> torch.Tensor:
    raise AssertionError("must never be called")


def test_other_functions_are_not_looked_up(tmp_path: Path) -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, activation=own_activation)
    made = rebuilt(model, tmp_path)
    with pytest.raises(sd.StatedictError, match=r"own_activation` is only described in the checkpoint.*assign"):
        made(torch.rand(3, 2, 8))
    made.activation = nn.functional.relu
    assert made(torch.rand(3, 2, 8)).shape == (3, 2, 8)


class Stranger(nn.Module):
    def __setstate__(self, state: Any) -> None:
        raise AssertionError("must never be called")


def test_foreign_classes_are_neither_imported_nor_run(tmp_path: Path) -> None:
    model = nn.Sequential(Stranger())
    made = rebuilt(model, tmp_path)
    assert type(made[0]).__name__ == "Stranger"
    assert type(made[0]) is not Stranger
    assert holders(made) == {"0": "tests.interop.test_modules.Stranger"}


def test_only_modules_that_torch_defines_are_allowed() -> None:
    assert allowed()["torch.nn.modules.linear.Linear"] is nn.Linear
    for name, kind in allowed().items():
        assert issubclass(kind, nn.Module)
        assert name == f"{kind.__module__}.{kind.__qualname__}"
        assert name.startswith("torch.nn.")


def test_a_state_dict_names_no_classes(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "state.pt")
    with pytest.raises(sd.StatedictError, match=r"holds tensors and no classes.*load_state_dict"):
        sd.open(tmp_path / "state.pt").to_torch()


def test_a_training_checkpoint_is_no_module_but_has_one(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "model": nn.Linear(2, 2)}, tmp_path / "last.ckpt")
    checkpoint = sd.open(tmp_path / "last.ckpt")
    with pytest.raises(sd.StatedictError, match="a dict of a checkpoint is no module; take the part `model`"):
        checkpoint.to_torch()
    assert type(checkpoint.model.to_torch()) is nn.Linear


def test_of_a_live_tree_it_is_the_model_itself() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    assert sd.open(model).to_torch() is model
    assert sd.open(model).get_submodule("0").to_torch() is model[0]
    mixed: Any = sd.open(nn.Sequential())
    mixed.append(sd.open(model).get_submodule("0"))
    assert mixed.to_torch()[0] is model[0]


def test_an_older_file_is_brought_up_to_date(tmp_path: Path) -> None:
    """As PyTorch's own `__setstate__` does: a convolution of PyTorch 1.0 has no `padding_mode`."""
    model = nn.Conv2d(1, 1, 1)
    del model.padding_mode
    made = rebuilt(model, tmp_path)
    assert made.padding_mode == "zeros"
    assert made(torch.ones(1, 1, 2, 2)).shape == (1, 1, 2, 2)


def test_a_part_that_was_edited(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2, bias=False)), tmp_path / "model.pt")
    model: Any = sd.open(tmp_path / "model.pt")
    model[0].weight = torch.eye(2) * 2
    made = model.to_torch()
    assert made(torch.ones(1, 2)).tolist() == [[2.0, 2.0]]


def renamed(path: Path, old: bytes, new: bytes) -> None:
    """Put another name, of the same length, into a file that `torch.save` wrote without a zip."""
    data = path.read_bytes()
    assert len(old) == len(new)
    assert old in data
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"torch.nn.modules.linear\nLinear", b"torch.distributed.rpc.\nPyRRef ".replace(b" ", b"x")),
     (b"torch.nn.modules.linear\nLinear", b"subprocess.............\nPopen-")],
)  # fmt: skip
def test_a_hostile_name_is_a_holder(old: bytes, new: bytes, tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "model.pt", _use_new_zipfile_serialization=False)
    renamed(tmp_path / "model.pt", old, new)
    made: Any = sd.open(tmp_path / "model.pt").to_torch()
    assert isinstance(made[0], Holder)
    assert holders(made) == {"0": new.decode().replace("\n", ".")}


def test_an_attribute_that_holds_itself(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    model.loop = [model.in_features]  # type: ignore[assignment]
    model.loop.append(model.loop)  # type: ignore[union-attr]
    torch.save(model, tmp_path / "model.pt")
    with pytest.raises(sd.StatedictError, match="nested without end"):
        sd.open(tmp_path / "model.pt").to_torch()
