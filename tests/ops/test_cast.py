"""`cast`: which tensors are of another type then, and what becomes of numbers that it cannot hold."""

from pathlib import Path

import pytest
import torch

import statedict as sd
from tests.sample_checkpoints import Language


@pytest.fixture
def model(tmp_path: Path) -> sd.Module:
    torch.save(Language(), tmp_path / "language.pt")
    return sd.open(tmp_path / "language.pt")


def types(model: sd.Module) -> dict[str, str]:
    return {name: tensor.dtype.name for name, tensor in model.state_dict().items()}


def test_floating_point_only(model: sd.Module, tmp_path: Path) -> None:
    made = sd.cast(model, "bf16")
    live = torch.load(tmp_path / "language.pt", weights_only=False).bfloat16().state_dict()
    assert types(made) == {name: str(value.dtype).removeprefix("torch.") for name, value in live.items()}
    assert all(torch.equal(tensor.torch(), live[name]) for name, tensor in made.state_dict().items())
    assert set(types(model).values()) == {"float32", "int64"}
    assert made.embedding.weight is made.head.weight
    assert made.layers[0].norm.kind == "LayerNorm"


def test_by_pattern_the_last_counts(model: sd.Module) -> None:
    made = types(sd.cast(model, {"layers.**": "bf16", "**.norm.*": sd.dtype("float64"), "positions": "int32"}))
    assert made["layers.0.mlp.0.weight"] == "bfloat16"
    assert made["layers.0.norm.weight"] == "float64"
    assert made["positions"] == "int32"
    assert made["embedding.weight"] == "float32"


def test_a_tied_tensor_is_one(model: sd.Module) -> None:
    made = sd.cast(model, {"head.weight": "f16"})
    assert types(made)["embedding.weight"] == "float16"
    assert made.embedding.weight is made.head.weight


def test_beyond_the_largest() -> None:
    model = sd.open({"w": torch.tensor([1.0, 1e6])})
    assert sd.cast(model, "f16").w.tolist() == [1.0, float("inf")]
    assert sd.cast(model, "f16", "saturate").w.tolist() == [1.0, 65504.0]
    with pytest.raises(sd.StatedictError, match="`w` holds 1e"):
        sd.cast(model, "f16", "error").w.numpy()


def test_what_cannot_be_cast(model: sd.Module) -> None:
    with pytest.raises(sd.PatternError, match=r"`heads.weight` matches no name; closest: `head.weight`"):
        sd.cast(model, {"heads.weight": "f16"})
    with pytest.raises(ValueError, match="`f17` is no element type"):
        sd.cast(model, "f17")
    sparse = sd.open({"w": torch.eye(3).to_sparse()})
    with pytest.raises(sd.StatedictError, match=r"^tensor `w` of float32 \(sparse_coo\) cannot become float16; "):
        sd.cast(sparse, "f16")
