"""Models that others have under other names: pairs of live models which give the same outputs with the same weights."""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  (everyone's name for it)

from tests import architectures

hf: Any = architectures.library


@dataclass
class Pair:
    """Two models that compute the same, and how each is called."""

    name: str
    source: nn.Module
    target: nn.Module
    inputs: torch.Tensor
    of_source: Callable[[Any, torch.Tensor], torch.Tensor]
    of_target: Callable[[Any, torch.Tensor], torch.Tensor]
    held_out: bool = False
    """Whether the matcher was written without a look at it."""

    def outputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            return self.of_source(self.source.eval(), self.inputs), self.of_target(self.target.eval(), self.inputs)


def randomized(model: nn.Module, seed: int) -> nn.Module:
    """The model with other values everywhere, also where they begin as ones and zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, each in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                each.copy_(torch.rand(each.shape, generator=generator) + 0.5)
            elif each.ndim and each.is_floating_point() and not name.endswith(("inv_freq", "mask")):
                scale = 0.2 if each.ndim == 1 else 1 / math.sqrt(max(1, each[0].numel()))
                each.copy_(torch.randn(each.shape, generator=generator) * scale + (each.ndim == 1) * 0.5)
    return model


def _logits(model: Any, inputs: torch.Tensor) -> torch.Tensor:
    made = model(inputs)
    return made if isinstance(made, torch.Tensor) else made[0]


# nanoGPT: https://github.com/karpathy/nanoGPT, whose names and computations these are


class _CausalSelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.c_attn, self.c_proj, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.c_attn(x).split(c, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(b, t, c))


class _MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), _CausalSelfAttention(width, heads)
        self.ln_2, self.mlp = nn.LayerNorm(width), _MLP(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGPT(nn.Module):
    """A GPT of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(99, 32),
                "wpe": nn.Embedding(64, 32),
                "h": nn.ModuleList([_Block(32, 2) for _ in range(2)]),
                "ln_f": nn.LayerNorm(32),
            }
        )
        self.lm_head = nn.Linear(32, 99, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        parts = cast("Any", self.transformer)
        x = parts.wte(ids) + parts.wpe(torch.arange(ids.shape[1]))
        for block in parts.h:
            x = block(x)
        return self.lm_head(parts.ln_f(x))


# Llama as Meta published it: https://github.com/meta-llama/llama/blob/main/llama/model.py, whose names these are.
# It turns pairs of neighbouring rows where transformers turns halves.


class _RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


def _rotated(x: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    turns = torch.outer(torch.arange(x.shape[-2]), 10000.0 ** (-torch.arange(half) / half))
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], half, 2))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(turns), turns)).flatten(-2)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = (w(x).view(b, t, self.heads, -1).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        y = F.scaled_dot_product_attention(_rotated(q), _rotated(k), v, is_causal=True)
        return self.wo(y.transpose(1, 2).reshape(b, t, c))


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)
        self.w3 = nn.Linear(width, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class _TransformerBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.feed_forward = _Attention(32, 2), _FeedForward(32, 64)
        self.attention_norm, self.ffn_norm = _RMSNorm(32), _RMSNorm(32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.ffn_norm(x))


class MetaLlama(nn.Module):
    """A Llama of two layers under Meta's names."""

    def __init__(self) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(99, 32)
        self.layers = nn.ModuleList([_TransformerBlock() for _ in range(2)])
        self.norm = _RMSNorm(32)
        self.output = nn.Linear(32, 99, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tok_embeddings(ids)
        for layer in self.layers:
            x = layer(x)
        return self.output(self.norm(x))


class TorchEncoder(nn.Module):
    """BERT's stack of layers as `torch.nn` has it."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 2, 64, activation="gelu", batch_first=True, layer_norm_eps=1e-12)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x)


def language() -> Iterator[Pair]:
    """Pairs that need nothing but PyTorch and transformers."""
    ids = torch.arange(12).view(1, 12) % 99
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sizes: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
        gpt2 = hf.GPT2LMHeadModel(
            hf.GPT2Config(vocab_size=99, n_positions=64, n_embd=32, n_layer=2, n_head=2, tie_word_embeddings=False)
        )
        llama = hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=99, intermediate_size=64, **sizes))
        bert = hf.BertModel(hf.BertConfig(vocab_size=99, intermediate_size=64, **sizes), add_pooling_layer=False)
        distilbert = hf.DistilBertModel(
            hf.DistilBertConfig(vocab_size=99, dim=32, hidden_dim=64, n_layers=2, n_heads=2)
        )
        yield Pair("nanoGPT → GPT-2 of transformers", NanoGPT(), gpt2, ids, _logits, _logits)
        yield Pair("GPT-2 of transformers → nanoGPT", gpt2, NanoGPT(), ids, _logits, _logits)
        yield Pair("Llama as Meta has it → transformers", MetaLlama(), llama, ids, _logits, _logits)
        x = torch.linspace(-1, 1, 12 * 32).view(1, 12, 32)
        yield Pair("nn.TransformerEncoder → BERT's encoder", TorchEncoder(), bert.encoder, x, _logits, _logits)
        yield Pair(
            "DistilBERT's layers → nn.TransformerEncoder", distilbert.transformer, TorchEncoder(), x, _stack, _logits
        )


def _stack(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model(x)[0]
