"""`extract_lora` beside the full singular value decomposition, and as PEFT loads it."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import statedict as sd
from statedict.expressions.nodes import node_of
from statedict.ops import row_blocks
from statedict.ops.lora.approximation import Product, best_product
from tests.ops.lora import models

SPECTRA = {
    "falling": lambda count: 1 / np.arange(1, count + 1),
    "steep": lambda count: 0.5 ** np.arange(count),
    "flat": lambda count: np.ones(count),
    "a few": lambda count: np.where(np.arange(count) < 5, 10.0, 0.1),
    "of rank 3": lambda count: np.where(np.arange(count) < 3, 1.0, 0.0),
}


def with_spectrum(rows: int, columns: int, sizes: Any) -> Any:
    generator = np.random.default_rng(3)
    left = np.linalg.qr(generator.normal(size=(rows, len(sizes))))[0]
    right = np.linalg.qr(generator.normal(size=(columns, len(sizes))))[0]
    return left * sizes @ right.T


def product(matrix: Any, rank: int, key: str = "") -> Product:
    return best_product(node_of(sd.Tensor(matrix).info), matrix.shape[1], rank, key)


@pytest.mark.parametrize("shape", [(300, 200), (150, 400), (64, 9)])
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("rank", [1, 4, 16])
def test_the_error_is_within_a_hundredth_of_the_best(
    shape: tuple[int, int], spectrum: str, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_blocks, "_BLOCK", 7 * shape[1] + 1)
    matrix = with_spectrum(*shape, SPECTRA[spectrum](min(shape)))
    found = product(matrix, rank)
    assert found.left.shape == (shape[0], rank)
    assert found.right.shape == (rank, shape[1])
    sizes = np.linalg.svd(matrix, compute_uv=False)
    best = np.sqrt((sizes[rank:] ** 2).sum())
    assert np.linalg.norm(matrix - found.left @ found.right) <= 1.01 * best + 1e-12 * sizes[0]
    assert found.total == pytest.approx((sizes**2).sum())
    assert found.kept == pytest.approx(np.linalg.norm(found.left @ found.right) ** 2, rel=1e-9)


def test_noise_has_no_short_cut() -> None:
    matrix = np.random.default_rng(0).normal(size=(700, 500))
    sizes = np.linalg.svd(matrix, compute_uv=False)
    found = product(matrix, 16)
    assert np.linalg.norm(matrix - found.left @ found.right) <= 1.01 * np.sqrt((sizes[16:] ** 2).sum())


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32))
def test_what_is_of_the_rank_is_found_whole(rows: int, columns: int, rank: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    matrix = generator.normal(size=(rows, rank)) @ generator.normal(size=(rank, columns))
    found = product(matrix, rank)
    np.testing.assert_allclose(found.left @ found.right, matrix, atol=1e-9)


def test_the_seed_decides() -> None:
    matrix = np.random.default_rng(0).normal(size=(90, 80))
    first, same, other = product(matrix, 4, "a"), product(matrix, 4, "a"), product(matrix, 4, "b")
    assert first.left.tobytes() == same.left.tobytes()
    assert first.left.tobytes() != other.left.tobytes()


def tuned(base: Any, rank: int) -> dict[str, torch.Tensor]:
    """The state of a model whose matrices training changed by so much rank."""
    generator = torch.Generator().manual_seed(5)
    state = dict(base.state_dict())
    for name, tensor in state.items():
        if tensor.ndim == 2:
            left = torch.randn(tensor.shape[0], rank, generator=generator)
            state[name] = tensor + 0.1 * left @ torch.randn(rank, tensor.shape[1], generator=generator)
    return state


@pytest.mark.parametrize("make", [models.llama, models.gpt2], ids=["llama", "gpt2"])
def test_it_is_found_again_by_peft_and_by_fold_lora(make: Any, tmp_path: Path) -> None:
    base = make()
    wanted = tuned(base, 3)
    if "lm_head.weight" in wanted and base.config.tie_word_embeddings:
        wanted["lm_head.weight"] = wanted["transformer.wte.weight"]
    adapter = sd.extract_lora(sd.open(wanted), sd.open(base.state_dict()), 4)
    saved = sd.save_adapter(adapter, tmp_path / "adapter")
    assert saved.files == ("adapter_model.safetensors", "adapter_config.json")
    folded = sd.fold_lora(sd.open(base.state_dict()), sd.open(tmp_path / "adapter")).state_dict()
    merged = models.merged(models.loaded(copy.deepcopy(base), tmp_path / "adapter"))
    for name, tensor in wanted.items():
        np.testing.assert_allclose(folded[name].numpy(), tensor.numpy(), atol=1e-5, err_msg=name)
        torch.testing.assert_close(merged[name], tensor, atol=1e-5, rtol=1e-5)


def test_what_is_kept_and_what_is_left_out_is_said() -> None:
    generator = np.random.default_rng(1)
    base = {
        "fc": {"weight": generator.normal(size=(20, 30)), "bias": np.zeros(20)},
        "same": {"weight": np.ones((4, 4))},
        "conv": {"weight": np.zeros((4, 3, 2, 2))},
    }
    change = with_spectrum(20, 30, np.array([3.0, 1.0]))
    other = {
        "fc": {"weight": base["fc"]["weight"] + change, "bias": np.ones(20)},
        "same": base["same"],
        "conv": {"weight": np.ones((4, 3, 2, 2))},
    }
    adapter = sd.extract_lora(sd.open(other), sd.open(base), 1)
    said = json.loads(adapter.metadata["statedict.extract_lora"])
    assert said["energy"] == {"fc": pytest.approx(0.9)}
    assert said["left_out"] == ["fc.bias", "conv.weight"]
    assert adapter.attributes["peft_config"]["target_modules"] == ["fc"]
    names = ["base_model.model.fc.lora_A.weight", "base_model.model.fc.lora_B.weight"]
    assert [name for name, _ in adapter.named_parameters()] == names


def test_only_what_patterns_fit() -> None:
    base = {name: {"weight": np.zeros((3, 3))} for name in "ab"}
    other = {name: {"weight": np.eye(3)} for name in "ab"}
    adapter = sd.extract_lora(sd.open(other), sd.open(base), 2, ["b.*"])
    assert adapter.attributes["peft_config"]["target_modules"] == ["b"]


@pytest.mark.parametrize(
    ("other", "rank", "message"),
    [
        (np.zeros((3, 3)), 4, "no matrix differs between the two models; there is nothing to extract"),
        (np.zeros((3, 4)), 4, "the models cannot be compared: shapes of the base and model 1 differ"),
        (np.ones((3, 3)), 0, "an adapter cannot have the rank 0; expected 1 or more"),
        (np.full((3, 3), np.nan), 4, "tensor `a.weight` differs by what is no finite number"),
    ],
)
def test_wrong_use(other: Any, rank: int, message: str) -> None:
    with pytest.raises(sd.StatedictError, match=message):
        sd.extract_lora(sd.open({"a": {"weight": other}}), sd.open({"a": {"weight": np.zeros((3, 3))}}), rank)


def test_progress_is_told() -> None:
    base = {name: {"weight": np.zeros((3, 3))} for name in "ab"}
    other = {name: {"weight": np.eye(3)} for name in "ab"}
    told: list[tuple[int, int]] = []
    sd.extract_lora(sd.open(other), sd.open(base), 2, progress=lambda done, total: told.append((done, total)))
    assert told == [(72, 144), (144, 144)]
