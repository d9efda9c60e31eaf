"""Lists in lists, and what else tells layers of vision models apart: letters, branches, modules around them."""

import pytest
import torch

import statedict as sd
from statedict.ops.match.matching import match
from tests import planted, real_models
from tests.ops.match.test_matching import found, score

WIDTHS = (8, 12, 16, 20, 24, 24)
STAGES = ("0.0", "1.0", "1.1", "2.0", "2.1", "2.2")


def layer(name: str, *shape: int) -> planted.State:
    """A convolution without bias, of random values."""
    return {f"{name}.weight": torch.randn(shape)}


def block(conv: str, norm: str, inputs: int, outputs: int) -> planted.State:
    """A convolution and its batch norm."""
    parts = {part: torch.randn(outputs) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**layer(conv, outputs, inputs, 1, 1), **{f"{norm}.{part}": value for part, value in parts.items()}}


def renamed(state: planted.State, names: dict[str, str]) -> planted.State:
    """The same tensors in the order of `names`, which have the new name of each layer."""
    return {
        f"{new}.{name.removeprefix(old + '.')}": value
        for new, old in names.items()
        for name, value in state.items()
        if name.rpartition(".")[0] == old
    }


def test_a_row_that_the_other_side_has_in_stages() -> None:
    source: planted.State = block("features.0.0", "features.0.1", 3, 8)
    names = {"conv_stem": "features.0.0", "bn1": "features.0.1"}
    for at, (inputs, outputs, stage) in enumerate(zip((8, *WIDTHS), WIDTHS, STAGES, strict=False), 1):
        source |= block(f"features.{at}.conv.0", f"features.{at}.conv.1", inputs, outputs)
        names |= {f"blocks.{stage}.conv_pw": f"features.{at}.conv.0", f"blocks.{stage}.bn1": f"features.{at}.conv.1"}
    source |= block("features.7.0", "features.7.1", 24, 96)
    names |= {"conv_head": "features.7.0", "bn2": "features.7.1"}
    target = renamed(source, names)
    assert len(target) == len(source)
    assert score(source, target) == (len(target), 0)
    assert score(target, source) == (len(target), 0)


def test_a_row_of_equal_sizes_lies_anywhere() -> None:
    """Where four of six equal blocks are in a longer list, no size tells."""
    source = {f"h.{at}.weight": torch.randn(8, 8) for at in range(6)}
    target = {f"blocks.{stage}.weight": torch.randn(8, 8) for stage in ("0.0", "0.1", "1.0", "1.1")}
    assert found(source, target).lines == ()


def bottleneck(*, letters: bool) -> tuple[planted.State, planted.State]:
    """A residual block as two libraries have it: with its branch before the others, and behind them."""
    first, second, third = ("f.a", "f.b", "f.c") if letters else ("f.red", "f.blue", "f.green")
    source = block("proj.0", "proj.1", 8, 16)
    for name, inputs, outputs in ((first, 8, 16), (second, 4, 16), (third, 16, 16)):
        source |= block(f"{name}.0", f"{name}.1", inputs, outputs)
    source |= layer("f.se.fc1", 4, 16, 1, 1) | layer("f.se.fc2", 16, 4, 1, 1)
    names: dict[str, str] = {}
    for at, name in enumerate((first, second, third), 1):
        names |= {f"conv{at}.conv": f"{name}.0", f"conv{at}.bn": f"{name}.1"}
    names |= {"se.fc1": "f.se.fc1", "se.fc2": "f.se.fc2", "downsample.conv": "proj.0", "downsample.bn": "proj.1"}
    return source, renamed(source, names)


def test_letters_count_as_numbers_do() -> None:
    source, target = bottleneck(letters=True)
    assert score(source, target) == (len(target), 0)
    assert score(target, source) == (len(target), 0)


def test_a_place_beside_a_branch_tells_nothing() -> None:
    """The branch is first on one side and last on the other: what only the order could tell is left open."""
    source, target = bottleneck(letters=False)
    right, wrong = score(source, target)
    assert wrong == 0
    assert right >= 6
    assert {each.target.partition(".")[0] for each in found(source, target).ambiguous} >= {"conv1", "downsample"}


def test_modules_of_the_same_shapes_are_the_same() -> None:
    """The branch is told by what the other module holds, whatever both are called."""
    source, _ = bottleneck(letters=False)
    names = {name: f"layer.{name.removeprefix('f.')}" for name in (key.rpartition(".")[0] for key in source)}
    names = {old: new.replace("layer.proj", "shortcut") for old, new in names.items()}
    target = renamed(source, {new: old for old, new in names.items()})
    moved = {key: value for key, value in target.items() if key.startswith("layer")} | {
        key: value for key, value in target.items() if key.startswith("shortcut")
    }
    assert score(source, moved) == (len(target), 0)


def test_a_word_may_be_short_for_another() -> None:
    source = {"head.weight": torch.randn(5, 8), "head_dist.weight": torch.randn(5, 8)}
    target = {
        "distillation_classifier.weight": source["head_dist.weight"],
        "cls_classifier.weight": source["head.weight"],
    }
    assert score(source, target) == (2, 0)


KERNELS: dict[str, tuple[int, ...]] = {
    "places": (5, 4, 3, 2),
    "one place": (5, 4, 1, 1),
    "as many in as out": (4, 4, 1, 1),
    "of one dimension": (5, 4, 3),
    "of each channel": (6, 1, 3, 3),
}


@pytest.mark.parametrize("case", KERNELS)
def test_kernels_of_keras_and_flax(case: str) -> None:
    """PyTorch's kernels have outputs and inputs first, theirs last; by shapes, and by values."""
    shape = KERNELS[case]
    theirs: planted.State = {}
    ours: planted.State = {}
    for name, (old, new) in {"stem": ("conv1", "stem.conv"), "body": ("conv2", "body.conv")}.items():
        weight = torch.randn(shape) + len(name)
        places = tuple(range(2, len(shape)))
        order = (*places, 0, 1) if case == "of each channel" else (*places, 1, 0)
        ours |= {f"{new}.weight": weight, f"{new}.bias": torch.randn(shape[0])}
        theirs |= {f"{old}.kernel": weight.permute(order).contiguous(), f"{old}.bias": ours[f"{new}.bias"]}
    assert score(theirs, ours, values=True) == (len(ours), 0)
    renamed_alike = {name.replace("conv1", "stem.conv").replace("conv2", "body.conv"): t for name, t in theirs.items()}
    assert score(renamed_alike, ours) == (len(ours), 0)
    back = {name.replace(".kernel", ".weight"): value for name, value in renamed_alike.items()}
    assert score(ours, back) == (len(ours), 0)


def test_kernels_with_their_places_turned_are_proved_by_values() -> None:
    ours = {"conv.weight": torch.randn(5, 4, 3, 3)}
    theirs = {"x.0": ours["conv.weight"].permute(3, 2, 1, 0).contiguous()}
    made = found(theirs, ours, values=True)
    assert [str(rule) for rule in made.rules] == ["x.0 = conv.weight (permute=[3, 2, 1, 0])"]
    assert score(theirs, ours, values=True) == (1, 0)


@pytest.mark.real
@pytest.mark.parametrize(("part", "count"), [("pnet", 13), ("rnet", 16), ("onet", 21)])
def test_a_trained_network_of_tensorflow_is_that_of_pytorch(part: str, count: int) -> None:
    """MTCNN in an array of objects without names, as TensorFlow has it, and as a state dict."""
    theirs = sd.open(real_models.fetch("mtcnn_weights_pickled.npy"), key=part)
    ours = sd.open(real_models.fetch(f"mtcnn_{part}.pt"))
    made = match(theirs, ours)
    assert made.complete
    assert made.proved
    assert sd.diff(made.apply(theirs), ours, tensors_only=True).same
    assert len(made.lines) == count
