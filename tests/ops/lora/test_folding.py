"""`fold_lora` beside PEFT's `merge_and_unload`."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import statedict as sd
from statedict.expressions import nodes, products
from tests.ops.lora import models

ATTENTION = ["q_proj", "v_proj"]
LLAMA: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "lora_alpha": 12, "target_modules": ATTENTION},
    "all linear": {"r": 3, "lora_alpha": 7, "target_modules": "all-linear"},
    "rank-stabilised": {"r": 4, "lora_alpha": 12, "target_modules": ATTENTION, "use_rslora": True},
    "patterns": {
        "r": 4,
        "target_modules": [*ATTENTION, "down_proj"],
        "rank_pattern": {"down_proj": 2, r".*\.1\.self_attn\.q_proj": 5},
        "alpha_pattern": {"layers.0.self_attn.v_proj": 3, "q_proj": 17},
        "use_rslora": True,
    },
    "dora": {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "use_dora": True},
    "embedding": {"r": 4, "target_modules": ["embed_tokens", "q_proj"]},
    "embedding dora": {"r": 4, "target_modules": ["embed_tokens", "q_proj"], "use_dora": True},
    "saved modules": {"r": 4, "target_modules": ATTENTION, "modules_to_save": ["lm_head", "norm"]},
    "trained biases": {"r": 4, "target_modules": ATTENTION, "bias": "lora_only"},
    "all biases": {"r": 4, "target_modules": ATTENTION, "bias": "all"},
    "lora bias": {"r": 4, "lora_alpha": 12, "target_modules": ATTENTION, "lora_bias": True},
}
OTHERS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "gpt2": (models.gpt2, {"r": 4, "target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
    "gpt2, not said": (models.gpt2, {"r": 4, "target_modules": ["c_attn", "c_proj"]}),
    "gpt2 dora": (models.gpt2, {"r": 4, "target_modules": ["c_attn", "c_proj"], "use_dora": True}),
    "gpt2 embedding": (models.gpt2, {"r": 4, "target_modules": ["wte"]}),
    "convolutions": (models.Convolutions, {"r": 3, "target_modules": ["line", "stem", "point", "head"]}),
    "convolutions dora": (
        models.Convolutions,
        {"r": 3, "target_modules": ["line", "stem", "point"], "use_dora": True, "modules_to_save": ["head"]},
    ),
}
CASES = {**{name: (models.llama, config) for name, config in LLAMA.items()}, **OTHERS}


def folded(base: nn.Module, folder: Path) -> sd.Module:
    return sd.fold_lora(sd.open(base.state_dict()), sd.open(folder))


def assert_same(found: sd.Module, wanted: dict[str, torch.Tensor], precision: float) -> None:
    state = found.state_dict()
    assert list(state) == list(wanted)
    for name, tensor in wanted.items():
        assert str(state[name].dtype) == str(tensor.dtype).removeprefix("torch.")
        ours, theirs = state[name].numpy().astype(float), tensor.double().numpy()
        np.testing.assert_allclose(ours, theirs, rtol=precision, atol=precision * np.abs(theirs).max(), err_msg=name)


@pytest.mark.parametrize("small", [False, True], ids=["whole", "blocks of 7"])
@pytest.mark.parametrize("case", CASES)
def test_float32(case: str, small: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, config = CASES[case]
    base = make()
    wanted = models.merged(models.adapted(copy.deepcopy(base), tmp_path, **config))
    if small:
        monkeypatch.setattr(nodes, "_STRETCH", 7)
        monkeypatch.setattr(products, "_STRETCH", 7)
    assert any((base.state_dict()[name] != tensor).any() for name, tensor in wanted.items())
    assert_same(folded(base, tmp_path), wanted, 1e-6)


@pytest.mark.parametrize("case", ["plain", "dora", "patterns", "embedding", "gpt2", "convolutions"])
def test_bfloat16_is_rounded_once(case: str, tmp_path: Path) -> None:
    """PEFT rounds products and sums on the way; ours is what it computes in float32, rounded."""
    make, config = CASES[case]
    base = make().bfloat16()
    adapted = models.adapted(copy.deepcopy(base), tmp_path, **config)
    theirs = models.merged(copy.deepcopy(adapted))
    exact = {name: tensor.bfloat16() for name, tensor in models.merged(adapted.double()).items()}
    found = folded(base, tmp_path)
    for name, tensor in found.state_dict().items():
        ours = torch.from_numpy(tensor.numpy().astype(np.float32)).bfloat16()
        assert torch.equal(ours, exact[name]), name
    assert_same(found, theirs, 2.0**-6)


def test_pieces_are_the_whole(tmp_path: Path) -> None:
    base = models.llama()
    models.adapted(copy.deepcopy(base), tmp_path, **LLAMA["dora"])
    tensor = folded(base, tmp_path).get_parameter("model.layers.0.mlp.down_proj.weight")
    np.testing.assert_allclose(tensor[3:9, 5:].numpy(), tensor.numpy()[3:9, 5:], rtol=1e-6)


@pytest.mark.parametrize("drop", [True, False], ids=["base without its head", "adapter without its head"])
def test_a_prefix_that_one_of_them_has(drop: bool, tmp_path: Path) -> None:
    base = models.llama()
    models.adapted(copy.deepcopy(base), tmp_path, **LLAMA["plain"])
    adapter, wanted = sd.open(tmp_path), folded(base, tmp_path)
    names = "model.layers.0.self_attn.q_proj.weight"
    if drop:
        tree = sd.open(base.state_dict(), key="model")
        found = sd.fold_lora(tree, adapter).get_parameter(names.removeprefix("model."))
    else:
        tree = sd.open({"policy": base.state_dict()})
        found = sd.fold_lora(tree, adapter).get_parameter("policy." + names)
    assert found.numpy().tobytes() == wanted.get_parameter(names).numpy().tobytes()


def changed(folder: Path, **config: Any) -> sd.Module:
    """The adapter of a folder, with other entries in its configuration."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return sd.open(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "LOHA"}, "the adapter's `peft_type` is 'LOHA'; only those of LORA can be folded"),
        (
            {"init_lora_weights": "pissa_niter_4"},
            ("the adapter was begun by `pissa_niter_4`, which changes the base's weights, too; save it by PEFT with "
            "`path_initial_model_for_weight_conversion` first"),
        ),
        ({"use_qalora": True}, "the adapter's `use_qalora` makes more of it than LoRA's product; merge it by PEFT"),
        ({"alpha_pattern": {"(": 1}}, "the adapter's pattern `(` is malformed: missing ), unterminated subpattern"),
    ],
)  # fmt: skip
def test_adapters_that_cannot_be_folded(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    base = models.llama()
    models.adapted(copy.deepcopy(base), tmp_path, **LLAMA["plain"])
    with pytest.raises(sd.StatedictError) as caught:
        sd.fold_lora(sd.open(base.state_dict()), changed(tmp_path, **config))
    assert str(caught.value) == message


def test_another_base(tmp_path: Path) -> None:
    models.adapted(models.llama(), tmp_path, **LLAMA["plain"])
    with pytest.raises(
        sd.StatedictError, match=r"the base has no `model\.layers\.0\.self_attn\.q_proj\.weight`, which the"
    ):
        sd.fold_lora(sd.open(models.gpt2().state_dict()), sd.open(tmp_path))
    narrow = {
        name: tensor[:, :16] if tensor.ndim == 2 else tensor for name, tensor in models.llama().state_dict().items()
    }
    with pytest.raises(sd.StatedictError, match=r"24 rows of 24, which the base's shape \(24, 16\) does not fit"):
        sd.fold_lora(sd.open(narrow), sd.open(tmp_path))


def test_a_file_without_its_configuration(tmp_path: Path) -> None:
    models.adapted(models.llama(), tmp_path, **LLAMA["plain"])
    with pytest.raises(sd.StatedictError, match=r"the adapter has no `adapter_config.json`; open its folder"):
        sd.fold_lora(sd.open(models.llama().state_dict()), sd.open(tmp_path / "adapter_model.safetensors"))
