"""`memory`: what is told from a file is what PyTorch then takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.ops.cache import cache_of
from statedict.ops.memory import Optimizer, Precision
from tests import architectures


def net() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 90), nn.LayerNorm(90), nn.BatchNorm1d(90), nn.Linear(90, 8))
    model[4].weight = nn.Parameter(torch.rand(8, 90))
    model.register_module("head", nn.Linear(8, 50, bias=False))
    model.head.weight = model[0].weight  # type: ignore[union-attr]  tied: counted once
    model[2].requires_grad_(False)
    return model


def nbytes(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors if isinstance(tensor, torch.Tensor))


OPTIMIZERS: dict[Optimizer, Callable[[Any], torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "sgd-momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
}
TYPES: dict[Precision | None, torch.dtype] = {
    None: torch.float32, "f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16,
}  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize("saved_as", [torch.float32, torch.float64])
def test_training_takes_what_torch_takes(
    optimizer: Optimizer, precision: Precision | None, saved_as: torch.dtype, tmp_path: Path
) -> None:
    model = net().to(saved_as)
    torch.save(model, tmp_path / "model.pt")
    found = sd.memory(sd.open(tmp_path / "model.pt"), optimizer=optimizer, precision=precision)
    if precision:
        model.to(TYPES[precision])
    sum(parameter.float().sum() for parameter in model.parameters()).backward()  # type: ignore[union-attr]
    made = OPTIMIZERS[optimizer](model.parameters())
    made.step()
    assert found.gradients == nbytes(parameter.grad for parameter in model.parameters())
    assert found.states == sum(nbytes(state.values()) for state in made.state.values())
    assert sum(found.weights.values()) == nbytes([*model.parameters(), *model.buffers()])
    assert found.trainable == sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert found.total == sum(found.weights.values()) + found.gradients + found.states


def test_weights_are_counted_by_module_and_type() -> None:
    model = net()
    model[1].bfloat16()  # type: ignore[index]
    found = sd.memory(sd.open(model))
    for name, module in model.named_modules():
        tensors = [*module.parameters(), *module.buffers()]
        if tensors:
            by_type = {str(dtype).removeprefix("torch."): nbytes(t for t in tensors if t.dtype == dtype)
                       for dtype in {t.dtype for t in tensors}}  # fmt: skip
            assert {str(dtype): size for dtype, size in found.modules[name].weights.items()} == by_type, name
    assert (found.gradients, found.states, found.master, found.cache) == (0, 0, 0, None)
    assert found.weights == found.modules[""].weights


def test_mixed_precision_takes_sixteen_bytes_a_parameter_with_adam() -> None:
    model = sd.open({"w": torch.zeros(1000, 10)})
    found = sd.memory(model, optimizer="adam", precision="mixed")
    assert (found.gradients, found.master, found.states) == (20_000, 40_000, 80_000 + 4)
    assert found.total == 16 * 10_000 + 4


def test_adam_of_8_bits() -> None:
    """As bitsandbytes keeps it: a byte each, a float32 scale for 256 of them; parameters below 4,096 in float32."""
    large, small = {"w": torch.zeros(5000)}, {"w": torch.zeros(4095)}
    assert sd.memory(sd.open(large), optimizer="adam8bit").states == 2 * (5000 + 20 * 4)
    assert sd.memory(sd.open(small), optimizer="adam8bit").states == 2 * 4095 * 4


def test_states_in_a_checkpoint_are_no_weights(tmp_path: Path) -> None:
    model = nn.Linear(3, 3)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "last.ckpt")
    assert sd.memory(sd.open(tmp_path / "last.ckpt")).total == 48


@pytest.mark.parametrize("words", [{"optimizer": "adamax"}, {"precision": "f8"}])
def test_an_unknown_word(words: Any) -> None:
    with pytest.raises(ValueError, match="is not known here; expected one of"):
        sd.memory(sd.open({"w": torch.zeros(2)}), **words)


CACHED = """
    bart bloom cohere2 deepseek_v32 exaone4 falcon gemma gemma2 gemma3 gpt2 gpt_bigcode gpt_neox gpt_oss
    lfm2 llama mistral mixtral mpt opt phi3 prophetnet qwen2 qwen3_moe stablelm whisper xglm
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", CACHED.split())
def test_the_cache_is_as_large_as_transformers_makes_it(name: str) -> None:
    model = architectures.make(name)
    config = {**model.config.to_dict(), "architectures": [type(model).__name__]}  # type: ignore[union-attr]
    found = cache_of(sd.open({"config": config, "w": torch.ones(1)}), sd.dtype("float32"))
    with torch.no_grad():
        kept = model(torch.ones(1, 7, dtype=torch.int64), use_cache=True).past_key_values
    expected = sum(layer.keys.nbytes + layer.values.nbytes for layer in kept.layers)
    assert found is not None
    assert found.per_token * 7 == expected
    assert found.nbytes(7) == expected
    live = cache_of(sd.open(model), sd.dtype("float32"))
    assert live is not None
    assert live.per_token == found.per_token


@pytest.mark.slow
def test_latent_attention_keeps_what_its_projection_makes() -> None:
    model: Any = architectures.make("deepseek_v3")
    found = cache_of(sd.open(model), sd.dtype("bfloat16"))
    layers = [module for name, module in model.named_modules() if name.endswith("kv_a_proj_with_mqa")]
    assert found is not None
    assert found.per_token == sum(layer.out_features for layer in layers) * 2


def config_of(**fields: Any) -> sd.Module:
    return sd.open({"config": fields, "w": torch.ones(1)})


LLAMA = {"num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 64}


def test_the_cache_by_hand() -> None:
    found = cache_of(config_of(**LLAMA, dtype="float16", architectures=["LlamaForCausalLM"]))
    assert found is not None
    assert (found.layers, found.width, str(found.dtype), found.per_token) == (4, 2 * 2 * 8, "float16", 4 * 32 * 2)
    assert found.nbytes(1000) == 1000 * found.per_token
    windowed = cache_of(config_of(**LLAMA, sliding_window=100, layer_types=["sliding_attention", "full_attention"] * 2))
    assert windowed is not None
    assert (windowed.windowed, windowed.window) == (2, 100)
    assert windowed.nbytes(1000) == 2 * 64 * 1000 + 2 * 64 * 100
    linear = cache_of(config_of(**LLAMA, layer_types=["linear_attention"] * 3 + ["full_attention"]))
    assert linear is not None
    assert linear.layers == 1
    nested = cache_of(config_of(text_config=LLAMA, torch_dtype="torch.float32"))
    assert nested is not None
    assert nested.per_token == 4 * 32 * 4


@pytest.mark.parametrize(
    "fields",
    [{}, {**LLAMA, "architectures": ["BertForMaskedLM"]}, {**LLAMA, "num_attention_heads": "8"}, {"hidden_size": 64}],
)
def test_no_cache_is_told_where_nothing_tells_it(fields: Any) -> None:
    assert cache_of(config_of(**fields)) is None
    assert sd.memory(config_of(**fields)).cache is None
