"""The depth of tensors, counted in a model's repeated blocks."""

from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.errors import PatternError, StatedictError
from statedict.ops.depth import depths
from tests import architectures


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)


class Tower(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1))
        self.stem = nn.Linear(2, 2)
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))
        self.norm = nn.LayerNorm(2)


def layers(model: nn.Module, blocks: str | None = None) -> dict[str, tuple[int, int]]:
    found = {name: tuple(depth) for name, depth in depths(sd.open(model), blocks).items()}
    assert list(found) == [name for name, _ in model.named_parameters(remove_duplicate=False)]
    return {name: depth for name, depth in found.items() if not name.endswith("bias")}  # type: ignore[misc]


def test_before_in_and_behind_the_blocks() -> None:
    assert layers(Tower(2)) == {
        "token": (0, 3), "stem.weight": (0, 3), "blocks.0.fc.weight": (1, 3), "blocks.1.fc.weight": (2, 3),
        "norm.weight": (3, 3),
    }  # fmt: skip


def test_towers_lie_side_by_side() -> None:
    found = layers(nn.ModuleDict({"text": Tower(2), "image": Tower(3), "head": nn.Linear(2, 2)}))
    assert found["text.stem.weight"] == (0, 3)
    assert found["text.norm.weight"] == (3, 3)
    assert found["image.stem.weight"] == (0, 4)
    assert found["image.blocks.2.fc.weight"] == (3, 4)
    assert found["head.weight"] == (4, 4)


def test_rows_in_one_module_follow_each_other() -> None:
    class Staged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(2, 2)
            self.layer1 = nn.Sequential(Block(), Block())
            self.between = nn.Linear(2, 2)
            self.layer2 = nn.Sequential(Block(), Block())
            self.fc = nn.Linear(2, 2)

    found = layers(Staged())
    assert [found[f"{name}.weight"][0] for name in ("stem", "layer1.0.fc", "layer1.1.fc")] == [0, 1, 2]
    assert [found[f"{name}.weight"][0] for name in ("between", "layer2.0.fc", "layer2.1.fc", "fc")] == [2, 3, 4, 5]


def test_blocks_within_blocks_do_not_count() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(Block() for _ in range(4))

    found = layers(nn.ModuleDict({"layers": nn.ModuleList(Experts() for _ in range(2))}))
    assert {depth for name, depth in found.items() if name.startswith("layers.1.")} == {(2, 3)}


def test_blocks_may_be_said() -> None:
    chain = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(StatedictError, match=r"no blocks repeat in this model.*blocks='features\.\*'"):
        depths(sd.open(chain))
    assert layers(chain, "{0,2}") == {"0.weight": (1, 3), "2.weight": (2, 3), "3.weight": (3, 3)}
    with pytest.raises(PatternError, match="matches no name"):
        depths(sd.open(chain), "blocks.*")


ROWS: Any = {
    "gpt2": ("transformer.h.{}", 2), "bert": ("bert.encoder.layer.{}", 2), "vit": ("layers.{}", 2),
    "resnet": ("encoder.stages.{}", 4), "deepseek_v3": ("model.layers.{}", 2), "mamba": ("backbone.layers.{}", 2),
    "t5": ("decoder.block.{}", 2), "clip": ("text_model.encoder.layers.{}", 2),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_transformers(name: str) -> None:
    model = architectures.make(name)
    pattern, count = ROWS[name]
    found = depths(sd.open(model))
    assert set(found) == {full for full, _ in model.named_parameters(remove_duplicate=False)}
    for number in range(count):
        inside = {depth for full, depth in found.items() if full.startswith(pattern.format(number) + ".")}
        assert inside == {(number + 1, count + 1)}
    embeddings = [depth.layer for full, depth in found.items() if "embed" in full or "wte" in full or "shared" in full]
    assert set(embeddings) == {0}


def test_a_state_dict_has_depths_too() -> None:
    model = architectures.make("gpt2")
    of_file = depths(sd.open(dict(model.state_dict())))
    live = depths(sd.open(model))
    assert {name: depth.layer for name, depth in of_file.items() if name in live and ".h." in name} == {
        name: depth.layer for name, depth in live.items() if ".h." in name
    }
