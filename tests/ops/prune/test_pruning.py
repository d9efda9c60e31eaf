"""Files pruned as `torch.nn.utils.prune` prunes live models, exactly, lazily, and in little memory."""

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import prune as torch_prune
from torch.sparse import SparseSemiStructuredTensorCUTLASS
from torch.sparse import _semi_structured_conversions as semi_structured

import statedict as sd
from statedict.errors import PatternError, StatedictError
from statedict.ops.prune.pruning import METADATA, pruning
from tests.ops.prune.test_masks import array, distinct
from tests.seed_net import Net

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def values(model: Any, name: str = "weight") -> Any:
    return np.asarray(model.get_parameter(name).numpy(), np.float64)


def opened(**tensors: torch.Tensor) -> sd.Module:
    return sd.open({name.replace("__", "."): array(tensor) for name, tensor in tensors.items()})


def zeros(model: sd.Module) -> dict[str, int]:
    found = {name: int((np.asarray(each.numpy(), np.float64) == 0).sum()) for name, each in model.named_parameters()}
    return {name: count for name, count in found.items() if count}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("amount", [0.1, 0.5, 0.77, 13])
def test_magnitude_is_torchs(dtype: torch.dtype, amount: float) -> None:
    weight = distinct(12, 20, dtype=dtype)
    layer = nn.Linear(20, 12, dtype=dtype)
    layer.weight.data = weight.clone()
    torch_prune.l1_unstructured(layer, "weight", amount)
    found = sd.prune(opened(weight=weight), amount=amount, protect=())
    assert np.array_equal(values(found), layer.weight.detach().double().numpy())
    assert np.array_equal(sd.masks(found).get_parameter("weight").numpy(), layer.weight_mask.bool().numpy())  # type: ignore[operator]


@pytest.mark.parametrize("dtype", FLOATS)
def test_global_is_torchs(dtype: torch.dtype) -> None:
    every = distinct(240, dtype=dtype)
    layers = [nn.Linear(10, 12, dtype=dtype), nn.Linear(12, 10, dtype=dtype)]
    for layer, part in zip(layers, every.split(120), strict=True):
        layer.weight.data = part.reshape(layer.weight.shape).clone()
    model = opened(a=layers[0].weight.detach(), b=layers[1].weight.detach())
    torch_prune.global_unstructured([(each, "weight") for each in layers], torch_prune.L1Unstructured, amount=0.4)
    found = sd.prune(model, amount=0.4, protect=())
    for name, layer in zip("ab", layers, strict=True):
        assert np.array_equal(values(found, name), layer.weight.detach().double().numpy())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("method", "dim"), [("rows", 0), ("columns", 1), ("channels", 0)])
@pytest.mark.parametrize(("norm", "n"), [("l1", 1), ("l2", 2)])
def test_slices_are_torchs(dtype: torch.dtype, method: str, dim: int, norm: str, n: int) -> None:
    weight = torch.randn(12, 20, generator=torch.Generator().manual_seed(0)).to(dtype)
    layer = nn.Linear(20, 12, dtype=torch.float64)
    layer.weight.data = weight.double()
    torch_prune.ln_structured(layer, "weight", 0.5, n, dim)
    found = sd.prune(opened(weight=weight), amount=0.5, method=method, norm=norm, protect=())
    assert np.array_equal(values(found), layer.weight.detach().numpy())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [0.0, 1.0, -1e-6])
def test_half_of_equal_ones_is_half(dtype: torch.dtype, value: float) -> None:
    model = opened(a=torch.full((3, 7), value, dtype=dtype), b=torch.full((5, 2), value, dtype=dtype))
    found = sd.prune(model, amount=0.5, protect=())
    stays = sd.masks(found).state_dict()
    assert sum(int(mask.numpy().sum()) for mask in stays.values()) == 31 - round(31 / 2)
    assert stays["a"].numpy().reshape(-1)[:15].all()  # the first of equal ones


@pytest.mark.parametrize("method", ["magnitude", "rows", "4x2", "1:2"])
def test_nan_names_the_tensor(method: str) -> None:
    model = opened(good=torch.ones(4, 4), bad=torch.tensor([[1.0, torch.nan]]).repeat(4, 2))
    found = sd.prune(model, amount=None if ":" in method else 0.5, method=method, protect=())
    with pytest.raises(StatedictError, match="tensor `bad` holds NaN, which has no magnitude"):
        found.get_parameter("bad").numpy()


def test_an_error_while_saving_leaves_no_file(tmp_path: Path) -> None:
    found = sd.prune(opened(bad=torch.full((4, 4), torch.nan)), amount=0.5, protect=())
    with pytest.raises(StatedictError, match="`bad` holds NaN"):
        sd.save(found, tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def test_what_goes_is_positive_zero() -> None:
    found = sd.prune(opened(weight=torch.tensor([[-1.0, -2.0]])), amount=1, protect=())
    assert np.signbit(found.get_parameter("weight").numpy()).tolist() == [[False, True]]


def test_random_is_the_same_however_it_is_read(tmp_path: Path) -> None:
    model = opened(a=torch.ones(600, 500), b=torch.ones(100, 70))
    found = sd.prune(model, amount=0.3, method="random", seed=7, protect=())
    whole = {name: found.get_parameter(name).numpy() for name in "ab"}
    assert sum(int((each == 0).sum()) for each in whole.values()) == round(0.3 * 307_000)
    assert np.array_equal(found.get_parameter("a")[123:321, 7:9].numpy(), whole["a"][123:321, 7:9])
    sd.save(found, tmp_path / "out.safetensors")
    assert np.array_equal(sd.open(tmp_path / "out.safetensors").get_parameter("a").numpy(), whole["a"])
    other = sd.prune(model, amount=0.3, method="random", seed=8, protect=())
    assert not np.array_equal(other.get_parameter("a").numpy(), whole["a"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_two_of_four_is_what_torch_compresses(dtype: torch.dtype) -> None:
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = sd.prune(opened(weight=weight), method="2:4", protect=())
    sparse = torch.from_numpy(values(found)).to(dtype)
    with FakeTensorMode():  # PyTorch's own check of what `to_sparse_semi_structured` takes: of CUDA's tensors only
        SparseSemiStructuredTensorCUTLASS._validate_device_dim_dtype_shape(
            torch.empty(sparse.shape, dtype=dtype, device="cuda")
        )
    packed, meta = semi_structured.sparse_semi_structured_from_dense_cutlass(sparse)
    assert torch.equal(semi_structured.sparse_semi_structured_to_dense_cutlass(packed, meta), sparse)
    groups = weight.double().abs().reshape(-1, 4)
    assert np.array_equal(np.abs(values(found)).reshape(-1, 4).sum(1), groups.topk(2).values.sum(1).numpy())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what that library imports
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_two_of_four_is_what_compressed_tensors_loads(dtype: torch.dtype, tmp_path: Path) -> None:
    """What its 2:4 format holds, and its loader gives back, is the pruned weight: nothing else was dropped for it."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.config import Sparse24BitMaskConfig

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16)).to(dtype)
    sd.save(sd.prune(sd.open(net), method="2:4", protect=("biases",)), tmp_path / "pruned.safetensors")
    sd.load_into(net, tmp_path / "pruned.safetensors")
    wanted = copy.deepcopy(net.state_dict())
    config = Sparse24BitMaskConfig(format="sparse-24-bitmask", targets=["Linear"])
    compressor = ModelCompressor(sparsity_config=config)

    save_file(compressor.compress(net), tmp_path / "model.safetensors")

    packed = sd.open(tmp_path / "model.safetensors").state_dict()
    assert packed["0.compressed"].shape == (32, 32)
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    compressor.decompress(str(tmp_path), net)
    assert all(torch.equal(net.state_dict()[f"{at}.weight"], wanted[f"{at}.weight"]) for at in (0, 2))


@pytest.mark.parametrize("method", ["magnitude", "random", "rows", "columns", "2:4", "3:8"])
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_files_and_live_models_are_pruned_alike(method: str, kind: str) -> None:
    torch.manual_seed(0)
    net = (
        nn.Sequential(nn.Linear(16, 24), nn.Linear(24, 40)) if kind == "linear" else nn.Sequential(nn.Conv2d(8, 16, 3))
    )
    amount = None if ":" in method else 0.6
    found = sd.prune(sd.open(net), amount=amount, method=method, protect=("biases",))
    live = sd.prune_live(net, amount=amount, method=method, protect=("biases",))
    for name, mask in live.masks.items():
        assert np.array_equal(values(found, name) != 0, mask.numpy())
    live.finalize()


def test_blocks() -> None:
    weight = torch.arange(1.0, 65).reshape(8, 2, 4)
    found = values(sd.prune(opened(weight=weight), amount=3, method="2x4", protect=()))
    blocks = found.reshape(4, 2, 2, 4).any(axis=(1, 3))
    assert blocks.tolist() == [[False, False], [False, True], [True, True], [True, True]]
    assert np.array_equal(found[found != 0], weight.numpy()[found != 0])


def test_channels_take_their_biases_along() -> None:
    net = Net()
    for parameter in net.parameters():
        parameter.data += 3
    found = zeros(sd.prune(sd.open(net.state_dict()), "features.4.**", amount=2, method="channels"))
    assert found == {"features.4.weight": 2 * 6 * 9, "features.4.bias": 2}


def test_channels_by_the_scale_of_the_norm_behind() -> None:
    net = Net()
    for parameter in net.parameters():
        parameter.data += 3
    net.features[5].weight.data = torch.tensor([5.0, -1, 4, 3, 2, 8, 7, 6, 9])
    found = sd.prune(sd.open(net), "features.4.weight", amount=2, method="channels", norm="batchnorm")
    assert zeros(found) == {
        "features.4.weight": 2 * 6 * 9, "features.4.bias": 2, "features.5.weight": 2, "features.5.bias": 2,
    }  # fmt: skip
    assert np.flatnonzero(values(found, "features.4.bias") == 0).tolist() == [1, 4]
    with pytest.raises(StatedictError, match=r"tensor `classifier\.0\.weight`: no BatchNorm follows it"):
        sd.prune(sd.open(net), "classifier.0.weight", amount=2, method="channels", norm="batchnorm")


def test_masks_make_the_same_again(tmp_path: Path) -> None:
    model = sd.open(Net())
    found = sd.prune(model, amount=0.5)
    sd.save(sd.masks(found), tmp_path / "masks.npz")
    again = sd.prune(model, method="mask", masks=sd.open(tmp_path / "masks.npz"))
    assert zeros(again) == zeros(found) != {}
    with pytest.raises(StatedictError, match="the tree holds no masks"):
        sd.masks(model)


def test_masks_that_do_not_fit() -> None:
    model = opened(weight=torch.ones(2, 3))
    with pytest.raises(StatedictError, match="the mask `wight` fits no tensor of that name; closest: `weight`"):
        sd.prune(model, method="mask", masks=opened(wight=torch.ones(2, 3)))
    with pytest.raises(StatedictError, match=r"the mask `weight` has the shape \[3, 2\], but the tensor \[2, 3\]"):
        sd.prune(model, method="mask", masks=opened(weight=torch.ones(3, 2)))


def test_patterns_with_amounts_of_their_own() -> None:
    model = opened(a__weight=distinct(4, 10), b__weight=distinct(4, 10), c__weight=distinct(4, 10))
    found = sd.prune(model, amount={"a.*": 0.25, "**": 0.5}, protect=())
    assert zeros(found) == {"a.weight": 10, "b.weight": 20, "c.weight": 20}
    assert zeros(sd.prune(model, "b.*", amount=3, protect=())) == {"b.weight": 3}


def test_each_tensor_alone() -> None:
    model = opened(a__weight=distinct(4, 10), b__weight=100 * distinct(4, 10))
    assert zeros(sd.prune(model, amount=0.5, scope="tensor", protect=())) == {"a.weight": 20, "b.weight": 20}
    assert zeros(sd.prune(model, amount=0.5, protect=()))["a.weight"] > 30


def test_tied_tensors_stay_tied() -> None:
    weight = nn.Parameter(distinct(4, 10))
    found = sd.prune(sd.open({"a": {"weight": weight}, "b": {"weight": weight}}), amount=0.5, protect=())
    assert found.get_parameter("a.weight") is found.get_parameter("b.weight")
    assert json.loads(found.metadata[METADATA])["values"] == 40


def test_what_was_done_is_in_the_file(tmp_path: Path) -> None:
    sd.save(sd.prune(sd.open(Net()), amount=0.5), tmp_path / "out.safetensors")
    said = json.loads(sd.open(tmp_path / "out.safetensors").metadata[METADATA])
    assert (said["method"], said["amount"], said["tensors"], said["values"]) == ("magnitude", 0.5, 2, 74_214)
    found = zeros(sd.open(tmp_path / "out.safetensors"))
    assert said["pruned"] == found["features.4.weight"] + found["classifier.0.weight"] == 37_107


def test_what_is_left_out_is_told() -> None:
    found = pruning(sd.open(Net().state_dict()), (), None, "2:4")
    assert list(found.tensors) == ["classifier.0.weight"]
    assert found.left_out["features.4.weight"] == "the shape [9, 6, 3, 3] has no multiple of 4 in dimension 1"
    assert found.left_out["features.0.weight"] == "first"
    with pytest.raises(StatedictError, match=r"tensor `features\.4\.weight`: the shape .* has no multiple of 4"):
        pruning(sd.open(Net()), ("features.4.weight",), None, "2:4")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "`magnitude` needs an `amount`, such as 0.5"),
        ({"method": "2:4", "amount": 0.5}, "`2:4` says the amount itself"),
        ({"method": "best", "amount": 0.5}, "`best` is no way to prune; expected magnitude, .* mask, N:M"),
        ({"method": "mask"}, "`mask` needs `masks`"),
        ({"amount": 0.5, "norm": "batchnorm"}, "`magnitude` has no norm `batchnorm`"),
        ({"amount": 0.5, "norm": "l3"}, "`norm` is 'l3'; expected one of l1, l2, batchnorm"),
        ({"amount": 0.5, "scope": "layer"}, "`scope` is 'layer'"),
        ({"amount": 1.5}, "`amount` is 1.5; expected a share"),
        ({"amount": 99_999}, "`amount` is 99,999, but there are 74,214 to prune"),
        ({"amount": 0.5, "protect": ("all",)}, "`all` in `protect` is not known"),
    ],
)
def test_wrong_settings(options: dict[str, Any], text: str) -> None:
    with pytest.raises(StatedictError, match=text):
        sd.prune(sd.open(Net()), **options)


def test_wrong_patterns() -> None:
    with pytest.raises(PatternError, match="`nothing` matches no name"):
        sd.prune(sd.open(Net()), "nothing", amount=0.5)


def test_codes_and_sparse_tensors_are_left_out(tmp_path: Path) -> None:
    weight = distinct(4, 10)
    torch.save({"sparse": weight.to_sparse(), "whole": weight.int(), "weight": weight}, tmp_path / "in.pt")
    found = pruning(sd.open(tmp_path / "in.pt"), (), 0.5, "magnitude", protect=())
    assert list(found.tensors) == ["weight"]
    assert found.left_out["sparse"] == "no plain values"


def test_scales_of_codes_are_left_alone() -> None:
    weight, scale = distinct(4, 10), distinct(4, 1)
    codes = weight.numpy().astype(ml_dtypes.float8_e4m3fn)
    model = sd.open({
        "a": {"weight": codes, "weight_scale": scale.numpy()},
        "b": {"scale": scale.numpy(), "qweight": weight.numpy().astype("i1")},
        "c": {"weight": weight.numpy(), "scale": scale.numpy()},
    })  # fmt: skip
    found = pruning(model, (), 0.5, "magnitude", protect=())
    assert list(found.tensors) == ["a.weight", "c.weight", "c.scale"]
    assert {name for name, why in found.left_out.items() if why == "scales of quantised weights"} == {
        "a.weight_scale", "b.scale",
    }  # fmt: skip


def test_pruning_over_the_opened_file(tmp_path: Path) -> None:
    file = tmp_path / "in.safetensors"
    save_file({"weight": distinct(300, 500)}, file)
    sd.save(sd.prune(sd.open(file), amount=0.5, protect=()), file)
    assert int((load_file(file)["weight"] == 0).sum()) == 75_000


_MEASURED = """
import sys, statedict as sd
sd.save(sd.prune(sd.open(sys.argv[1]), amount=0.5, method=sys.argv[3], protect=()), sys.argv[2], durable=False)
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
@pytest.mark.parametrize("method", ["magnitude", "random", "rows"])
def test_memory_does_not_grow_with_the_model(tmp_path: Path, method: str) -> None:
    peaks: list[int] = []
    for rows in (1 << 12, 1 << 14):
        file = tmp_path / f"{rows}.safetensors"
        save_file({"weight": torch.randn(rows, 1 << 10).bfloat16()}, file)
        arguments = [sys.executable, "-c", _MEASURED, str(file), str(tmp_path / "out.safetensors"), method]
        peaks.append(int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout))
    assert peaks[1] - peaks[0] < 12 << 10  # KiB; the second file has 24 MiB more


@pytest.mark.parametrize("method", ["magnitude", "random", "rows", "4x2", "2:4"])
def test_what_is_pruned_pickles(method: str) -> None:
    """So that executors of other processes can read it."""
    model = opened(weight=distinct(12, 20))
    found = sd.prune(model, amount=None if ":" in method else 0.5, method=method, protect=())
    extent = pickle.loads(pickle.dumps(found.get_parameter("weight").info.extent))
    assert bytes(extent.read()) == found.get_parameter("weight").numpy().tobytes()
