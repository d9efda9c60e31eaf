"""How norms are told from each other: by their tensors, their names, and what is around them."""

import pytest
from torch import nn

from tests.kinds import bare
from tests.shapes import Shape, kinds, layer

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def batch_norm(name: str, channels: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = layer(name, (channels,), (channels,))
    return shapes | {f"{name}.{each}": () if each == "num_batches_tracked" else (channels,) for each in STATISTICS}


@pytest.mark.parametrize(
    ("beside", "kind"),
    [
        (layer("a.conv", (6, 4, 3), (6,)), "BatchNorm1d"),
        (layer("a.conv", (6, 4, 3, 3), (6,)), "BatchNorm2d"),
        (layer("a.conv", (6, 4, 3, 3, 3), (6,)), "BatchNorm3d"),
        (layer("a.linear", (6, 4), (6,)), "BatchNorm1d"),
        (layer("a.conv", (6, 4, 3, 3)) | layer("a.linear", (9, 6), (9,)), "BatchNorm2d"),
        ({}, "BatchNorm"),
    ],
)
def test_the_dimensions_of_a_batch_norm_are_those_of_its_neighbours(beside: dict[str, Shape], kind: str) -> None:
    assert kinds({**beside, **batch_norm("a.bn", 6)})["a.bn"] == kind


def test_an_instance_norm_goes_by_its_name() -> None:
    assert kinds({**layer("a.conv", (6, 4, 3, 3)), **batch_norm("a.instance_norm", 6)})["a.instance_norm"] == (
        "InstanceNorm2d"
    )


def test_the_version_and_the_name_tell_a_batch_norm_without_statistics() -> None:
    """The version alone does not: an InstanceNorm with weights has the same."""
    made = nn.Sequential()
    for name, norm in (("bn", nn.BatchNorm2d(6, track_running_stats=False)), ("N", nn.InstanceNorm2d(6, affine=True))):
        made.add_module(f"conv_{name}", nn.Conv2d(6, 6, 3))
        made.add_module(name, norm)
    found = bare(made)
    assert (found.get_submodule("bn").kind, found.get_submodule("N").kind) == ("BatchNorm2d", None)
    assert bare(made, ordered=False).get_submodule("N").kind is None


def test_residual_blocks_of_diffusion_models_have_group_norms() -> None:
    """Though a matrix is beside them, that tells the time. Depthwise convolutions are not theirs."""
    matrix = {"b.time_emb_proj.weight": (8, 6), "b.time_emb_proj.bias": (8,)}
    block = {**layer("b.norm1", (8,), (8,)), **layer("b.conv1", (8, 8, 3, 3), (8,)), **matrix}
    assert kinds(block)["b.norm1"] == "GroupNorm"
    assert kinds({**block, **layer("b.conv1", (8, 1, 3, 3), (8,))})["b.norm1"] == "LayerNorm"


def test_the_norm_before_the_last_convolution_of_diffusion_models_is_a_group_norm() -> None:
    around = {**layer("conv_in", (8, 4, 3, 3), (8,)), **layer("time_embedding.linear_1", (8, 8), (8,))}
    assert kinds({**around, **layer("conv_norm_out", (8,), (8,))})["conv_norm_out"] == "GroupNorm"


def test_the_norm_before_the_transformers_of_diffusion_models_is_a_group_norm() -> None:
    inner = layer("a.transformer_blocks.0.norm1", (8,), (8,)) | layer("a.transformer_blocks.0.ff", (8, 8), (8,))
    found = kinds(layer("a.norm", (8,), (8,)) | layer("a.proj_in", (8, 8)) | inner | layer("a.proj_out", (8, 8)))
    assert (found["a.norm"], found["a.transformer_blocks.0.norm1"]) == ("GroupNorm", "LayerNorm")


@pytest.mark.parametrize("name", ["q_norm", "key_norm", "kv_a_layernorm", "img_attn_q_norm", "norm_k"])
def test_a_norm_of_queries_without_bias_is_an_rms_norm(name: str) -> None:
    assert kinds({**layer(f"a.{name}", (8,)), **layer("a.to_q", (8, 8))})[f"a.{name}"] == "RMSNorm"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ln_1", "LayerNorm"), ("layer_norm", "LayerNorm"), ("group_norm", "GroupNorm"), ("gn", "GroupNorm"), ("x", None)],
)
def test_the_name_of_a_norm_with_bias(name: str, kind: str | None) -> None:
    assert kinds(layer(name, (8,), (8,))) == {name: kind}


def test_a_norm_among_linear_layers_is_a_layer_norm() -> None:
    assert kinds({**layer("a.norm1", (8,), (8,)), **layer("a.fc", (9, 8), (9,))})["a.norm1"] == "LayerNorm"


def test_a_norm_of_the_number_of_a_convolution_is_a_group_norm() -> None:
    assert kinds({**layer("a.norm1", (8,), (8,)), **layer("a.conv1", (8, 4, 3, 3))})["a.norm1"] == "GroupNorm"


@pytest.mark.parametrize(
    ("mlp", "kind"), [({"gate_proj": (9, 8), "up_proj": (9, 8)}, "RMSNorm"), ({"fc1": (9, 8), "fc2": (8, 9)}, None)]
)
def test_a_norm_without_bias_is_an_rms_norm_beside_a_gated_perceptron(mlp: dict[str, Shape], kind: str | None) -> None:
    tensors: dict[str, Shape] = {"h.0.norm1.weight": (8,), "h.0.norm2.weight": (8,)}
    tensors |= {f"h.0.mlp.{name}.weight": shape for name, shape in mlp.items()}
    assert kinds(tensors)["h.0.norm1"] == kind


def test_the_norm_that_attention_and_perceptron_share_is_a_layer_norm() -> None:
    block = {"input_layernorm.weight": (8,), "self_attn.q_proj.weight": (8, 8), "mlp.up_proj.weight": (9, 8)}
    assert kinds({f"layers.0.{name}": shape for name, shape in block.items()})["layers.0.input_layernorm"] == (
        "LayerNorm"
    )


def test_prelu() -> None:
    assert kinds(layer("act", (1,))) == {"act": "PReLU"}
