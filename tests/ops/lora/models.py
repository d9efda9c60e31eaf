"""Small models of transformers and torch, and adapters that PEFT made for them."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import peft
    import transformers

SEED = 1


def llama() -> nn.Module:
    torch.manual_seed(SEED)
    config = transformers.LlamaConfig(
        vocab_size=48,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        attention_bias=True,
        tie_word_embeddings=False,
    )
    return transformers.LlamaForCausalLM(config)


def gpt2() -> nn.Module:
    torch.manual_seed(SEED)
    config = transformers.GPT2Config(vocab_size=48, n_positions=16, n_embd=24, n_layer=2, n_head=2)
    return transformers.GPT2LMHeadModel(config)


class Convolutions(nn.Module):
    """Of one and two dimensions, with kernels of 1 × 1 and larger, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.line = nn.Conv1d(3, 8, 3)
        self.stem = nn.Conv2d(3, 8, 3)
        self.point = nn.Conv2d(8, 12, 1, bias=False)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def randomized(model: Any) -> Any:
    """The adapter with all that is trained moved: B begins as zero, which would fold to nothing."""
    generator = torch.Generator().manual_seed(SEED + 1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator) * 0.2
            parameter.data += noise.to(parameter.dtype)
    return model


def adapted(base: nn.Module, folder: Path, **config: Any) -> Any:
    """The model with an adapter that is saved to a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = randomized(peft.get_peft_model(base, peft.LoraConfig(**config)))
        model.save_pretrained(folder)
    return model


def merged(model: Any) -> dict[str, torch.Tensor]:
    """What PEFT makes of model and adapter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.merge_and_unload().state_dict()


def loaded(base: nn.Module, folder: Path) -> Any:
    """The model with the adapter of a folder, as PEFT loads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.PeftModel.from_pretrained(base, folder)
