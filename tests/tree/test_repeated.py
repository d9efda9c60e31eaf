"""Large trees whose blocks repeat, against the same trees built whole."""

import copy
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statedict.columns import Columns
from statedict.dtypes import DTYPES
from statedict.index import Index
from statedict.ops.cast import cast
from statedict.ops.prefixes import strip_prefixes
from statedict.ops.select import named_tensors, shown_tensors
from statedict.source import BytesSource
from statedict.tree import build as building
from statedict.tree.build import build
from statedict.tree.deferred import is_unbuilt
from statedict.tree.module import Module
from statedict.tree.nested import ListModule
from statedict.views.lines import plain
from statedict.views.outline import Outline
from statedict.views.tree import tree

SHAPES: dict[str, tuple[int, ...]] = {
    "norm.weight": (4,),
    "norm.bias": (4,),
    "input_layernorm.weight": (4,),
    "self_attn.q_proj.weight": (4, 4),
    "self_attn.q_proj.qweight": (4, 4),
    "mlp.gate_proj.weight": (6, 4),
    "mlp.up_proj.weight": (6, 4),
    "conv1.weight": (4, 2, 3, 3),
    "bn.running_mean": (4,),
    "bn.running_var": (4,),
    "bn.weight": (4,),
    "bn.bias": (4,),
    "0.weight": (4, 4),
    "weight": (4, 4),
    "scale": (4,),
    ".x": (1,),
}
TEMPLATES = st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, max_size=5, unique=True)


@st.composite
def models(draw: st.DrawFn, *, within: bool = True) -> dict[str, tuple[int, ...]]:
    """Names and shapes: lists of blocks of few kinds, with gaps, blocks in blocks, and what stands beside them."""
    kinds = [{name: SHAPES[name] for name in draw(TEMPLATES)} for _ in range(draw(st.integers(1, 3)))]
    if within and draw(st.booleans()):
        kinds[0] |= draw(models(within=False))
    found: dict[str, tuple[int, ...]] = {}
    for name in draw(st.lists(st.sampled_from(["layers.", "model.layers.", "h.0.h.", "", "stem."]), max_size=2)):
        numbers = draw(st.lists(st.integers(0, 12), max_size=9, unique=True))
        for number in numbers if draw(st.booleans()) else sorted(numbers):
            found |= {f"{name}{number}.{local}": shape for local, shape in draw(st.sampled_from(kinds)).items()}
    found |= {name: SHAPES[name] for name in draw(TEMPLATES)}
    return found


def columns(shapes: dict[str, tuple[int, ...]], files: int = 1) -> Columns:
    """Those tensors as so many files have them, each as long as it says."""
    parts: list[Columns] = []
    names = list(shapes)
    cut = -(-len(names) // files) or 1
    for start in range(0, len(names), cut):
        some = names[start : start + cut]
        sizes = [4 * math.prod(shapes[name]) for name in some]
        offsets = [sum(sizes[:at]) for at in range(len(some))]
        source = BytesSource(bytes(sum(sizes)), f"{start}")
        kinds, forms = [DTYPES["float32"]] * len(some), [shapes[name] for name in some]
        parts.append(Columns(source, some, kinds, forms, offsets, sizes))
    return Columns.joined(parts)


def both(shapes: dict[str, tuple[int, ...]], files: int = 1) -> tuple[Any, Any]:
    """The tree built as needed, and the one built whole."""
    found = columns(shapes, files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "_MANY", 0)
        lazy = build(Index("folder", BytesSource(b""), found, ordered=False).validate())
    return lazy, build(Index("folder", BytesSource(b""), dict(found.items()), ordered=False))


def account(model: Module) -> list[Any]:
    """All that is known of a tree, module by module."""
    return [
        (name, type(module), module.kind, module.inferred, module.quantization, list(module._modules), repr(module))
        for name, module in model.named_modules()
    ]


def tensors(model: Module) -> list[Any]:
    return [(name, tensor.info, tensor.requires_grad, role) for name, tensor, _, role in named_tensors(model)]


def unbuilt(model: Module) -> int:
    """How many modules are not built, of those that hang in what is."""
    waiting, found = [model], 0
    while waiting:
        for child in waiting.pop()._modules.values():
            assert child is not None
            if is_unbuilt(child):
                found += 1
            else:
                waiting.append(child)
    return found


MANY = {f"layers.{at}.{name}": shape for at in range(9) for name, shape in (("a.weight", (4, 4)), ("b.weight", (2,)))}


@settings(deadline=None)  # two trees are built, walked and drawn
@given(models(), st.integers(1, 3))
def test_a_tree_built_as_needed_is_the_one_built_whole(shapes: dict[str, tuple[int, ...]], files: int) -> None:
    lazy, whole = both(shapes, files)

    assert account(lazy) == account(whole)
    assert tensors(lazy) == tensors(whole)


@settings(deadline=None)  # two trees are built, walked and drawn
@given(models(), st.integers(1, 3))
def test_kinds_may_be_asked_for_at_any_time(shapes: dict[str, tuple[int, ...]], last: int) -> None:
    lazy, whole = both(shapes)
    names = [name for name, _ in whole.named_modules()]

    for name in names[::-last]:  # some before anything else is built, children before what they are in
        assert lazy.get_submodule(name).kind == whole.get_submodule(name).kind
    assert account(lazy) == account(whole)


@settings(deadline=None)  # two trees are built, walked and drawn
@given(models(), st.integers(1, 3), st.booleans())
def test_its_outline_is_the_same(shapes: dict[str, tuple[int, ...]], files: int, unfold: bool) -> None:
    lazy, whole = both(shapes, files)
    mine, other = Outline(lazy, unfold=unfold), Outline(whole, unfold=unfold)

    assert plain(tree(mine, "net", unfold=unfold)) == plain(tree(other, "net", unfold=unfold))
    assert mine.root.sizes() == other.root.sizes()
    assert mine.modules == other.modules
    assert [entry.name for entry in mine.root.entries] == [entry.name for entry in other.root.entries]
    assert len(mine.root.entries) == len(other.root.entries)


@settings(deadline=None)  # two trees are built, walked and drawn
@given(models(), st.integers(1, 3))
def test_its_tensors_can_be_shown_one_by_one(shapes: dict[str, tuple[int, ...]], files: int) -> None:
    lazy, whole = both(shapes, files)

    shown = [(name, tensor.info, owner.kind, role) for name, tensor, owner, role in shown_tensors(lazy)]
    assert shown == [(name, tensor.info, owner.kind, role) for name, tensor, owner, role in named_tensors(whole)]


def test_what_is_shown_is_not_kept() -> None:
    held = columns(MANY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "_MANY", 0)
        model = build(Index("folder", BytesSource(b""), held, ordered=False))
    made = len(held._made)

    assert [entry.name for entry in shown_tensors(model)] == list(MANY)
    assert len(held._made) == made == 2 * 2
    assert unbuilt(model) == 7


def test_of_blocks_that_are_alike_two_are_built() -> None:
    lazy, _ = both(MANY)

    assert [is_unbuilt(module) for module in lazy.layers._modules.values()] == [False, False, *[True] * 7]
    assert isinstance(lazy.layers, ListModule)
    assert len(lazy.layers) == 9
    assert unbuilt(lazy) == 7
    assert lazy.layers[0].a.kind == "Linear"  # which looks at all that is built, and builds nothing
    assert unbuilt(lazy) == 7


def test_an_outline_builds_one_more_of_each_kind() -> None:
    lazy, _ = both(MANY)

    assert Outline(lazy).root.sizes().tensors == 18
    assert unbuilt(lazy) == 6


def test_what_is_touched_is_built_and_stays_the_same_object() -> None:
    lazy, _ = both(MANY)
    block = lazy.layers._modules["5"]
    held = {block}

    assert block.a.weight is lazy.layers[5].a.weight
    assert block in held
    assert type(block) is Module
    assert block.a.weight.name == "layers.5.a.weight"
    assert unbuilt(lazy) == 6


def test_a_block_that_is_a_list_has_a_length_before_anything_else_is_asked() -> None:
    lazy, _ = both({f"h.{at}.{part}.a.weight": (2, 2) for at in range(5) for part in range(3)})

    assert len(lazy.h._modules["4"]) == 3
    assert lazy.h._modules["3"][1].a.kind == "Linear"


def test_what_is_done_to_the_first_block_is_not_done_to_those_like_it() -> None:
    lazy, whole = both(MANY)
    del lazy.layers[0].a
    lazy.layers[1].kind = "Edited"

    assert account(lazy.layers[6]) == account(whole.layers[6])
    assert Outline(lazy).root.sizes().tensors == 17


def test_a_block_under_a_second_name_is_one_module() -> None:
    lazy, _ = both(MANY)
    lazy.again = lazy.layers._modules["7"]

    assert lazy.again is lazy.layers[7]
    assert Outline(lazy).modules == 1 + 1 + 9 * 3


def test_assigning_to_a_block_builds_it_first() -> None:
    lazy, whole = both(MANY)
    lazy.layers._modules["4"].note = "mine"

    assert lazy.layers[4].note == "mine"
    assert tensors(lazy) == tensors(whole)


def test_a_walk_yields_what_is_built() -> None:
    lazy, _ = both(MANY)

    assert {type(module) for module in lazy.modules()} == {Module, ListModule}
    assert unbuilt(lazy) == 0


@pytest.mark.parametrize("prefix", ["", "module."])
def test_trees_are_rebuilt_from_it_as_from_one_built_whole(prefix: str) -> None:
    lazy, whole = both({f"{prefix}{name}": shape for name, shape in MANY.items()})

    assert account(strip_prefixes(lazy)) == account(strip_prefixes(whole))
    lazy, whole = both({f"{prefix}{name}": shape for name, shape in MANY.items()})
    assert account(cast(lazy, "bf16")) == account(cast(whole, "bf16"))


def test_copies_and_pickles_are_built() -> None:
    lazy, whole = both(MANY)

    assert account(copy.deepcopy(lazy)) == account(whole)
    assert account(pickle.loads(pickle.dumps(lazy))) == account(whole)


def test_threads_that_touch_one_block_see_one() -> None:
    lazy, _ = both(MANY)
    block = lazy.layers._modules["8"]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: id(block.a.weight), range(64)))

    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"layers.9.weight": (4, 4)}, "a layer in the list may be run after the others"),
        ({"param_groups.0": (4,)}, "an optimizer's state may be anywhere"),
    ],
)
def test_what_could_depend_on_the_number_of_blocks_is_built_whole(more: dict[str, tuple[int, ...]], why: str) -> None:
    lazy, whole = both({**MANY, **more})

    assert unbuilt(lazy) == 0, why
    assert account(lazy) == account(whole)


def test_tensors_that_share_bytes_are_built_whole() -> None:
    source, names = BytesSource(bytes(16)), [f"layers.{at}.a.weight" for at in range(9)]
    same = Columns(source, names, [DTYPES["float32"]] * 9, [(2, 2)] * 9, [0] * 9, [16] * 9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "_MANY", 0)
        model = build(Index("folder", source, same, ordered=False).validate())

    assert unbuilt(model) == 0
    assert Outline(model).root.sizes().nbytes == 16
