"""The rules by which kinds are inferred, one by one; `test_infer_architectures.py` measures them on whole models."""

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as save_safetensors
from torch import nn

import statedict as sd
from statedict.dtypes import DTYPES
from statedict.index import Index, TensorInfo
from statedict.source import BytesSource
from statedict.tree.build import build
from statedict.tree.module import Module
from tests.kinds import bare
from tests.shapes import Shape, kinds, layer, model

# Matrices


@pytest.mark.parametrize(
    "name", ["embed_tokens", "wte", "wpe", "word_embeddings", "tok_embeddings", "token_embd", "relative_attention_bias"]
)
def test_a_matrix_of_such_a_name_is_an_embedding(name: str) -> None:
    assert kinds(layer(name, (100, 8))) == {name: "Embedding"}


@pytest.mark.parametrize("name", ["lm_head", "q_proj", "embed_out", "embedding_projection", "patch_embed_proj", "gate"])
def test_a_matrix_of_another_is_linear(name: str) -> None:
    assert kinds(layer(name, (100, 8))) == {name: "Linear"}


def test_numbered_ones_go_by_the_name_of_their_list() -> None:
    found = kinds({**layer("input_embeds_layers.0", (9, 8)), **layer("mlp.0", (9, 8))})
    assert (found["input_embeds_layers.0"], found["mlp.0"]) == ("Embedding", "Linear")


def test_a_bias_tells_which_side_the_outputs_are_on() -> None:
    assert kinds(layer("a", (6, 2), (6,))) == {"a": "Linear"}
    assert kinds(layer("a", (2, 6), (6,))) == {"a": "Conv1D"}
    assert kinds(layer("a", (2, 6), (5,))) == {"a": None}


def test_square_ones_of_gpt2_are_transposed_where_others_around_are() -> None:
    gpt2 = {**layer("h.0.attn.c_attn", (8, 24), (24,)), **layer("h.0.attn.c_proj", (8, 8), (8,))}
    assert kinds(gpt2)["h.0.attn.c_proj"] == "Conv1D"
    assert kinds({**layer("a.c_attn", (24, 8), (24,)), **layer("a.c_proj", (8, 8), (8,))})["a.c_proj"] == "Linear"


def test_a_matrix_without_bias_or_name_could_be_either() -> None:
    assert model({"weight": (100, 8)}).kind is None


# Convolutions


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_dimensions_of_a_kernel(dimensions: int) -> None:
    kernel = (3,) * dimensions
    assert kinds(layer("conv", (6, 4, *kernel), (6,))) == {"conv": f"Conv{dimensions}d"}
    assert kinds(layer("conv", (4, 6, *kernel), (6,))) == {"conv": f"ConvTranspose{dimensions}d"}


@pytest.mark.parametrize(
    ("name", "kernel", "kind"),
    [
        ("deconv", 3, "ConvTranspose2d"),
        ("upsample", 2, "ConvTranspose2d"),
        ("upsample", 3, "Conv2d"),  # after a stretched picture
        ("downsample", 2, "Conv2d"),
        ("layers", 2, None),
    ],
)
def test_a_square_convolution_goes_by_name_and_kernel(name: str, kernel: int, kind: str | None) -> None:
    assert kinds(layer(name, (8, 8, kernel, kernel), (8,))) == {name: kind}


def test_a_depthwise_convolution_is_not_taken_for_a_transposed_one() -> None:
    assert kinds(layer("conv_dw", (8, 1, 3, 3), (8,))) == {"conv_dw": "Conv2d"}


def test_stacks_of_matrices_are_no_convolutions() -> None:
    assert kinds(layer("experts.input_linear", (4, 16, 8)))["experts.input_linear"] is None
    assert kinds(layer("w", (4, 16, 128))) == {"w": None}


def test_a_bilinear_layer_is_not_taken_for_a_convolution() -> None:
    assert kinds(layer("bilinear", (4, 2, 3), (4,))) == {"bilinear": None}


def test_convolutions_whose_weight_is_parametrised() -> None:
    made = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 3)))
    tree = bare(made)
    assert tree.get_submodule("0").kind == "Conv1d"
    assert tree.get_submodule("0.parametrizations.weight").kind == "ParametrizationList"


# Layers that the names of their tensors tell


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_recurrent_layers(kind: Callable[..., nn.Module], bidirectional: bool, bias: bool) -> None:
    live = kind(3, 4, num_layers=2, bidirectional=bidirectional, bias=bias)
    found = bare(live)
    assert found.kind == type(live).__name__
    expected = {"input_size": 3, "hidden_size": 4, "num_layers": 2, "bidirectional": bidirectional, "bias": bias}
    assert found.inferred_attributes.items() >= expected.items()


def test_an_lstm_with_a_projection() -> None:
    found = bare(nn.LSTM(3, 4, proj_size=2))
    assert found.kind == "LSTM"
    assert (found.inferred_attributes["hidden_size"], found.inferred_attributes["proj_size"]) == (4, 2)


@pytest.mark.parametrize("live", [nn.LSTMCell(3, 4), nn.GRUCell(3, 4), nn.RNNCell(3, 4, bias=False)])
def test_recurrent_cells(live: nn.Module) -> None:
    found = bare(live)
    assert found.kind == type(live).__name__
    assert found.inferred_attributes["hidden_size"] == 4


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 4, "vdim": 6}, {"add_bias_kv": True}])
def test_attention(options: dict[str, int]) -> None:
    found = bare(nn.MultiheadAttention(8, 2, **options))  # pyright: ignore[reportArgumentType]
    assert found.kind == "MultiheadAttention"
    assert found.inferred_attributes["embed_dim"] == 8


# Lists


def test_unlike_layers_with_gaps_are_run_one_after_the_other() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 8), nn.ReLU())
    for ordered in (True, False):
        assert bare(net, ordered=ordered).kind == "Sequential"


def test_layers_that_fit_together_are_too() -> None:
    assert bare(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), ordered=False).kind == "Sequential"


@pytest.mark.parametrize("live", [nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)]), nn.Sequential(nn.Linear(4, 2))])
def test_other_lists_stay_nameless(live: nn.Module) -> None:
    assert bare(live).kind is None


def test_parameter_lists() -> None:
    assert kinds({"scales.0": (3,), "scales.1": (4,)}) == {"scales": "ParameterList"}


# What is shown


LIVE = nn.ModuleDict(
    {
        "conv": nn.Conv2d(3, 6, (3, 1)),
        "linear": nn.Linear(6, 4, bias=False),
        "layer_norm": nn.LayerNorm(4),
        "gru": nn.GRU(4, 2, bidirectional=True),
        "up": nn.ConvTranspose2d(6, 8, 2, groups=2),
    }
)


def test_an_inferred_layer_prints_what_its_shapes_show() -> None:
    assert repr(bare(LIVE)).splitlines() == [
        "Module(",
        "  (conv): Conv2d?(3, 6, kernel_size=(3, 1))",
        "  (linear): Linear?(in_features=6, out_features=4, bias=False)",
        "  (layer_norm): LayerNorm?((4,), elementwise_affine=True, bias=True)",
        "  (gru): GRU?(4, 2, bidirectional=True)",
        "  (up): ConvTranspose2d?(6, 8, kernel_size=(2, 2), groups=2)",
        ")",
    ]


def test_inferred_attributes_are_those_of_the_live_layers() -> None:
    for live, found in zip(LIVE.children(), bare(LIVE).children(), strict=True):
        assert found.inferred
        for name, value in found.inferred_attributes.items():
            assert name == "bias" or getattr(live, name) == value


def test_the_channels_of_a_depthwise_convolution_are_not_told() -> None:
    assert repr(model(layer("conv_dw", (8, 1, 3, 3))).get_submodule("conv_dw")) == (
        "Conv2d?(out_channels=8, kernel_size=(3, 3), bias=False)"
    )


def test_a_file_says_nothing_of_what_is_inferred() -> None:
    found = bare(LIVE).get_submodule("conv")
    assert (found.kind, found.inferred, found.attributes, found.class_name) == ("Conv2d", True, {}, None)


def test_a_whole_model_is_not_inferred() -> None:
    file = io.BytesIO()
    torch.save(LIVE, file)
    tree = sd.open(file.getvalue())
    assert [module.inferred for module in tree.modules()] == [False] * 6
    assert tree.get_submodule("conv").kind == "Conv2d"


@pytest.mark.parametrize("form", ["torch", "safetensors"])
def test_files_are_as_their_indices(form: str) -> None:
    file = io.BytesIO()
    torch.save(LIVE.state_dict(), file)
    content = file.getvalue() if form == "torch" else save_safetensors(dict(LIVE.state_dict()))
    found = {name: module.kind for name, module in sd.open(content).named_modules()}
    assert found == {name: module.kind for name, module in bare(LIVE, ordered=form == "torch").named_modules()}


def test_the_state_dict_of_one_layer() -> None:
    file = io.BytesIO()
    torch.save(nn.Linear(3, 2).state_dict(), file)
    assert sd.open(file.getvalue()).kind == "Linear"


def test_the_state_of_an_optimizer_is_no_model() -> None:
    net = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, file)
    tree = sd.open(file.getvalue())
    assert all(module.kind is None for module in tree.get_submodule("optimizer").modules())


def test_copies_and_pickles_keep_the_kind() -> None:
    for copied in (copy.deepcopy(bare(LIVE)), pickle.loads(pickle.dumps(bare(LIVE)))):
        assert (copied.get_submodule("conv").kind, copied.get_submodule("conv").inferred) == ("Conv2d", True)
    alone = pickle.loads(pickle.dumps(bare(LIVE).get_submodule("linear")))
    assert alone.kind == "Linear"


def test_a_kind_can_be_assigned() -> None:
    tree = bare(LIVE)
    tree.get_submodule("conv").kind = "Other"
    assert tree.get_submodule("conv").kind == "Other"
    assert tree.get_submodule("linear").kind == "Linear"


def test_new_modules_have_none() -> None:
    assert (Module().kind, Module().inferred, Module().quantization, Module().inferred_attributes) == (
        *(None, False, None),
        {},
    )


# Roles


@pytest.mark.parametrize(
    ("name", "shape", "type", "is_buffer"),
    [
        ("bn.running_mean", (3,), "float32", True),
        ("emb.position_ids", (1, 9), "int64", True),
        ("rope.inv_freq", (4,), "float32", True),
        ("attn.bias", (1, 1, 9, 9), "float32", True),
        ("attn.masked_bias", (), "float32", True),
        ("attn.bias", (9,), "float32", False),
        ("attn.relative_position_index", (9, 9), "int64", True),
        ("grn.bias", (1, 1, 1, 9), "float32", False),
        ("fc.weight", (3, 3), "int8", False),
        ("fc.qweight", (3, 3), "int32", True),
        ("fc.weight", (3, 3), "float8_e4m3fn", False),
        ("mask", (3, 3), "bool", True),
    ],
)
def test_parameters_and_buffers(name: str, shape: Shape, type: str, is_buffer: bool) -> None:
    tree = model({name: shape}, {name: type})
    assert (name in dict(tree.named_buffers())) is is_buffer
    assert (name in dict(tree.named_parameters())) is not is_buffer


def test_whole_numbers_need_no_gradients() -> None:
    weight = model({"weight": (3, 3)}, {"weight": "int8"}).get_parameter("weight")
    assert not weight.requires_grad


# Whatever a file holds


PARTS = st.sampled_from(
    [
        *("weight", "bias", "running_mean", "running_var", "weight_ih_l0", "weight_hh_l0", "weight_hr_l0", "weight_ih"),
        *(
            "weight_hh",
            "in_proj_weight",
            "q_proj_weight",
            "qweight",
            "qzeros",
            "scales",
            "SCB",
            "absmax",
            "weight_packed",
        ),
        *("weight_scale", "weight_scale_inv", "_weight_qdata", "original1", "original0", "parametrizations", "norm1"),
        *("conv1", "0", "1", "7", "٣", "00", "9" * 5000, "layers", "mlp", "self_attn", "input_layernorm", "c_proj"),
    ]
)
NAMES = st.lists(PARTS, min_size=1, max_size=4).map(".".join) | st.text(min_size=1, max_size=5)
SHAPES = st.lists(st.integers(0, 5), max_size=6).map(tuple)


@given(st.dictionaries(NAMES, st.tuples(SHAPES, st.sampled_from(sorted(DTYPES))), max_size=12))
def test_no_names_and_shapes_make_it_fail(tensors: dict[str, tuple[Shape, str]]) -> None:
    infos = {name: TensorInfo(name, DTYPES[type], shape, None) for name, (shape, type) in tensors.items()}
    tree = build(Index("safetensors", BytesSource(b""), infos))
    for module in tree.modules():
        assert module.inferred is (module.kind is not None)
        assert isinstance(repr(module), str)
        assert isinstance(module.inferred_attributes, dict)
        assert not module.kind or module.kind.isalnum()


def test_layers_that_are_not_initialised_have_no_arguments_yet() -> None:
    buffer = io.BytesIO()
    torch.save(nn.Sequential(nn.LazyBatchNorm2d(), nn.LazyConv2d(3, 3), nn.LazyLinear(2)).state_dict(), buffer)
    model = sd.open(buffer.getvalue())
    assert "BatchNorm" in repr(model)
    assert [module.inferred_attributes for module in model.children()] == [{}] * 3
