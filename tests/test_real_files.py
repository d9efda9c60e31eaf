"""Every PyTorch and safetensors file listed as a real model: it opens, and its values are torch's, bit for bit."""

import pickle
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import statedict as sd
from statedict.ops.sizes import covered
from tests import real_models
from tests.real_models import RealModel
from tests.same import assert_same_tensor

pytestmark = pytest.mark.real


class Anything:
    """Stands for a class that nobody has installed, so that torch can load what refers to it."""

    def __init__(self, *_args: object, **_kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class LenientUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return super().find_class(module_name, global_name)
        except (ImportError, AttributeError):
            return Anything


lenient = ModuleType("lenient")
lenient.__dict__.update({**pickle.__dict__, "Unpickler": LenientUnpickler})


def flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield prefix, value
    elif isinstance(value, dict | list | tuple):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, held in entries:
            yield from flattened(held, f"{prefix}.{key}" if prefix else str(key))


def tensors_of(model: sd.Module) -> dict[str, sd.Tensor]:
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}


@pytest.mark.parametrize("model", real_models.models("torch legacy (pre-1.6)", "torch zip"), ids=str)
def test_a_pytorch_file_has_the_values_that_torch_reads(model: RealModel) -> None:
    path = model.fetch()
    expected = dict(flattened(torch.load(path, weights_only=False, map_location="cpu", pickle_module=lenient)))
    ours = tensors_of(sd.open(path))
    assert set(ours) == set(expected)
    assert model.tensors in (None, len(expected))
    for name, tensor in expected.items():
        assert_same_tensor(ours[name], tensor, name)


@pytest.mark.parametrize("model", real_models.models("safetensors"), ids=str)
def test_a_safetensors_file_has_the_values_that_its_library_reads(model: RealModel) -> None:
    path = model.fetch()
    expected = load_file(path)
    ours = tensors_of(sd.open(path))
    assert set(ours) == set(expected)
    assert model.tensors == len(expected)
    for name, tensor in expected.items():
        assert_same_tensor(ours[name], tensor, name)


def test_the_file_whose_classes_nobody_has_shows_them_as_descriptions() -> None:
    checkpoint = sd.open(real_models.fetch("pesto_g7_omegaconf.ckpt"))
    with pytest.raises(ModuleNotFoundError):
        torch.load(real_models.fetch("pesto_g7_omegaconf.ckpt"), weights_only=False, map_location="cpu")
    assert "omegaconf" in repr(checkpoint.attributes)


def test_lstm_weights_in_one_storage_are_counted_by_storage() -> None:
    path = real_models.fetch("resemblyzer_train_ckpt.pt")
    loaded = dict(flattened(torch.load(path, weights_only=False, map_location="cpu")))
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in loaded.values()}
    assert len(storages) < len(loaded)
    assert covered(tensor.info for tensor in tensors_of(sd.open(path)).values()) == sum(storages.values())
