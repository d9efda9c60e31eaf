"""State dicts as others would have them: renamed, renumbered, fused, split, transposed, stacked; values kept."""

import re
import zlib
from collections.abc import Callable, Mapping

import torch

from tests import architectures

State = dict[str, torch.Tensor]

SYNONYMS = {
    "self_attn": "mixer_attention",
    "attention": "self_attn",
    "attn": "attention",
    "self_attention": "attn",
    "mlp": "ffn",
    "ffn": "feedforward",
    "feed_forward": "mlp",
    "q_proj": "to_q",
    "k_proj": "to_k",
    "v_proj": "to_v",
    "out_proj": "to_out",
    "o_proj": "out_proj",
    "query": "q_lin",
    "key": "k_lin",
    "value": "v_lin",
    "q": "query_proj",
    "k": "key_proj",
    "v": "value_proj",
    "fc1": "dense_in",
    "fc2": "dense_out",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
    "layers": "blocks",
    "layer": "h",
    "h": "blocks",
    "blocks": "layers",
    "encoder": "enc",
    "decoder": "dec",
    "embed_tokens": "tok_emb",
    "word_embeddings": "token_embedding",
    "position_embeddings": "pos_emb",
    "LayerNorm": "ln",
    "layer_norm": "ln",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "norm": "ln_f",
    "norm1": "ln_1",
    "norm2": "ln_2",
    "layernorm_before": "norm_pre_attn",
    "layernorm_after": "norm_pre_mlp",
    "experts": "expert",
    "gate": "router",
    "conv": "convolution",
    "convolution": "conv",
    "classifier": "head",
    "pooler": "pool",
}
"""What others call the same. Which of these the matcher knows is no matter: it never sees this table."""
_SYLLABLES = ("ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su", "ta", "ve", "wi", "xo", "zu")


def state(name: str) -> State:
    """The state dict of an architecture, each value in it of its own."""
    model = architectures.make(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        seen: dict[int, torch.Tensor] = {}
        found: State = {}
        for key, tensor in model.state_dict(keep_vars=True).items():
            if not isinstance(tensor, torch.Tensor):
                continue
            if id(tensor) not in seen:
                whole = not (tensor.is_floating_point() or tensor.is_complex())
                shape = tensor.shape
                seen[id(tensor)] = torch.randint(2**30, shape) if whole else torch.randn(shape)
            found[key] = seen[id(tensor)]
        return found


def prefixed(given: State) -> State:
    return {f"model._orig_mod.{name}": value for name, value in given.items()}


def without_prefix(given: State) -> State:
    """Without the first part of all names, where they share it; else with one more."""
    heads = {name.partition(".")[0] for name in given}
    if len(heads) == 1 and all("." in name for name in given):
        return {name.partition(".")[2]: value for name, value in given.items()}
    return {f"module.{name}": value for name, value in given.items()}


def renumbered(given: State) -> State:
    """Every list counted from 1."""
    return {_by_part(name, lambda part: str(int(part) + 1) if part.isdigit() else part): v for name, v in given.items()}


def _by_part(name: str, change: Callable[[str], str]) -> str:
    return ".".join(map(change, name.split(".")))


def synonyms(given: State) -> State:
    """Every part that others call otherwise called so, where no two then have one name."""
    made = {_by_part(name, lambda part: SYNONYMS.get(part, part)): value for name, value in given.items()}
    return made if len(made) == len(given) else given


def invented(given: State) -> State:
    """One of three parts called by a word that means nothing, the same everywhere."""
    parts = sorted({part for name in given for part in name.split(".")[:-1] if not part.isdigit()})
    chosen = [part for part in parts if zlib.crc32(part.encode()) % 3 == 0]
    words = {part: _word(at) for at, part in enumerate(chosen)}
    return {_by_part(name, lambda part: words.get(part, part)): value for name, value in given.items()}


def _word(at: int) -> str:
    return _SYLLABLES[at % 15] + _SYLLABLES[at // 15 % 15] + _SYLLABLES[(at * 7 + 3) % 15]


_APART = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("q", "k", "v"), ("q_lin", "k_lin", "v_lin"))
_ONE = ("qkv", "qkv_proj", "Wqkv", "in_proj", "c_attn")


def fused(given: State) -> State:
    """Query, key and value as one, gate and up as one, wherever they are apart."""
    for names in _APART:
        given = _joined(given, names, "qkv")
    return _joined(given, ("gate_proj", "up_proj"), "gate_up_proj")


def _joined(given: State, names: tuple[str, ...], whole: str) -> State:
    made: State = {}
    for name, value in given.items():
        *path, part, local = name.split(".") if name.count(".") else ["", "", name]
        others = [".".join((*path, each, local)) for each in names]
        if part not in names or not all(each in given for each in others):
            made[name] = value
        elif part == names[0]:
            pieces = [given[each] for each in others]
            if len({piece.shape[1:] for piece in pieces}) > 1 or not value.ndim:
                return given
            made[".".join((*path, whole, local))] = torch.cat(pieces)
    return made


def split(given: State) -> State:
    """Query, key and value apart, and gate and up, wherever they are one."""
    made: State = {}
    for name, value in given.items():
        head, _, local = name.rpartition(".")
        part = head.rpartition(".")[2]
        if part in _ONE and f"{head.rpartition('.')[0]}.x" and "mamba" not in name and "mixer" not in name:
            dim = 0 if part != "c_attn" or value.ndim == 1 else 1
            if value.shape[dim] % 3 == 0 and part != "in_proj":
                for each, piece in zip("qkv", value.chunk(3, dim), strict=True):
                    made[f"{head.rpartition('.')[0]}.{each}_proj.{local}"] = piece.contiguous()
                continue
        if part == "gate_up_proj" and value.ndim == 2:
            for each, piece in zip(("gate", "up"), value.chunk(2), strict=True):
                made[f"{head.rpartition('.')[0]}.{each}_proj.{local}"] = piece.contiguous()
            continue
        made[name] = value
    return made


def transposed(given: State) -> State:
    """Every matrix but embeddings the other way round, as GPT-2's `Conv1D` and Keras have them."""
    return {
        name: value.T.contiguous() if value.ndim == 2 and "emb" not in name.lower() else value
        for name, value in given.items()
    }


def stacked(given: State) -> State:
    """Experts that are in a list stacked, those that are stacked in a list."""
    made: State = {}
    for name, value in given.items():
        found = re.fullmatch(r"(.*experts)\.(\d+)\.(.*)", name)
        if found is not None:
            head = found[1] + "."
            every = [key for key in given if re.fullmatch(re.escape(head) + r"\d+\." + re.escape(found[3]), key)]
            every.sort(key=lambda key, head=head: int(key.removeprefix(head).partition(".")[0]))
            if found[2] == "0":
                made[f"{found[1]}.{found[3]}"] = torch.stack([given[key] for key in every])
            continue
        alone = re.fullmatch(r"(.*experts)\.(\w+)", name)
        if alone is not None and value.ndim == 3:
            for at, each in enumerate(value):
                made[f"{alone[1]}.{at}.{alone[2]}.weight"] = each.contiguous()
            continue
        made[name] = value
    return made


def shuffled(given: State) -> State:
    """Sorted by name, as safetensors files are."""
    return dict(sorted(given.items()))


def everything(given: State) -> State:
    return prefixed(synonyms(stacked(fused(renumbered(given)))))


PLANTED: Mapping[str, Callable[[State], State]] = {
    "a prefix more": prefixed,
    "a prefix less": without_prefix,
    "lists counted from 1": renumbered,
    "parts called as others do": synonyms,
    "one of three parts called by a made-up word": invented,
    "fused: query, key and value; gate and up": fused,
    "split: the same the other way": split,
    "matrices transposed": transposed,
    "experts stacked, or listed": stacked,
    "prefix, numbers, synonyms, fused and stacked at once": everything,
    "the same, sorted by name as safetensors has it": lambda given: shuffled(everything(given)),
}
