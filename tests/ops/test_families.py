"""What parameters are for, by the kinds of their modules."""

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.ops.families import family
from statedict.ops.select import named_tensors
from tests import architectures


class Named(nn.Module):
    """A kind with a telling name, and parameters of its own."""

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))


class PreNormAttention(Named):
    pass


class MyRMSNorm(Named):
    pass


class PatchEmbeddings(Named):
    pass


def families(model: nn.Module) -> dict[str, str]:
    return {entry.name: family(entry) for entry in named_tensors(sd.open(model)) if entry.role == "parameter"}


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Linear(2, 3), {"weight": "weight", "bias": "bias"}),
        (nn.Conv2d(1, 2, 3), {"weight": "weight", "bias": "bias"}),
        (nn.BatchNorm2d(3), {"weight": "norm", "bias": "norm"}),
        (nn.LayerNorm([2, 3]), {"weight": "norm", "bias": "norm"}),
        (nn.GroupNorm(1, 3), {"weight": "norm", "bias": "norm"}),
        (nn.RMSNorm(3), {"weight": "norm"}),
        (nn.Embedding(2, 3), {"weight": "embedding"}),
        (nn.EmbeddingBag(2, 3), {"weight": "embedding"}),
        (nn.PReLU(), {"weight": "vector"}),
        (MyRMSNorm(scale=(3,)), {"scale": "norm"}),
        (PreNormAttention(qkv=(3, 3), gate=(3,)), {"qkv": "weight", "gate": "norm"}),
        (PatchEmbeddings(cls_token=(1, 1, 3)), {"cls_token": "embedding"}),
        (
            nn.LSTM(2, 3),
            {"weight_ih_l0": "weight", "weight_hh_l0": "weight", "bias_ih_l0": "bias", "bias_hh_l0": "bias"},
        ),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, nn.Module) else "",
)
def test_kinds(module: nn.Module, expected: dict[str, str]) -> None:
    assert families(module) == expected


def test_a_norm_of_any_name_is_one_where_its_classes_are_known() -> None:
    class Scale(nn.LayerNorm):
        pass

    (entry, _) = [entry for entry in named_tensors(sd.open(Scale([2, 3]))) if entry.role == "parameter"]
    assert family(entry) == "weight"
    assert family(entry, ["Scale", "LayerNorm"]) == "norm"


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "t5", "vit"])
def test_transformers(name: str) -> None:
    model = architectures.make(name)
    kinds = {n: type(m).__name__ for n, m in model.named_modules()}
    for full, found in families(model).items():
        kind = kinds[full.rpartition(".")[0]]
        if found == "weight":
            assert kind in ("Linear", "Conv1D", "Conv2d"), full
        elif found in ("norm", "embedding"):
            assert found in kind.lower(), full
        else:
            assert found == "bias", full
            assert kind in ("Linear", "Conv1D", "Conv2d", "BertLMPredictionHead"), full
