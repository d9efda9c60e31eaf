"""`select` over trees made by hand: names, ties, roles, and trees that share or hold themselves."""

import pytest

from statedict.dtypes import dtype
from statedict.errors import LimitError, PatternError
from statedict.index import Index, ModuleInfo, TensorInfo
from statedict.ops.select import named_modules, named_tensors, select, selected
from statedict.ops.sizes import sizes
from statedict.source import BytesSource, Extent
from statedict.tree.build import build
from statedict.tree.module import Module

SOURCE = BytesSource(bytes(4096), "memory")


def info(name: str, shape: tuple[int, ...] = (2, 3), kind: str = "float32", offset: int = 0) -> TensorInfo:
    element = dtype(kind)
    count = 1
    for size in shape:
        count *= size
    return TensorInfo(name, element, shape, Extent(SOURCE, offset, element.nbytes(count)))


def model(*infos: TensorInfo, **modules: ModuleInfo) -> Module:
    named = {name.replace("__", "."): held for name, held in modules.items()}
    return build(Index("memory", SOURCE, {held.name: held for held in infos}, named).validate())


def test_names_come_in_the_order_of_the_tree_own_tensors_first() -> None:
    tree = model(info("b.w"), info("a.inner.w"), info("w"), info("a.w"), info("a.num_batches_tracked", (), "int64"))

    assert [entry.name for entry in named_tensors(tree)] == ["w", "b.w", "a.w", "a.num_batches_tracked", "a.inner.w"]


def test_every_name_of_a_tied_tensor_is_selected() -> None:
    shared = info("embedding.weight")
    tree = build(Index("memory", SOURCE, {"embedding.weight": shared, "head.weight": shared}).validate())

    found = select(tree, "**.weight")

    assert list(found) == ["embedding.weight", "head.weight"]
    assert found["embedding.weight"] is found["head.weight"]


def test_patterns_are_a_union_in_the_order_of_the_tree() -> None:
    tree = model(info("a.w"), info("a.b"), info("b.w"))

    assert list(select(tree, "b.*", "*.w")) == ["a.w", "b.w"]
    assert list(select(tree)) == ["a.w", "a.b", "b.w"]


def test_where_sees_the_module_that_owns() -> None:
    tree = model(info("a.w"), info("b.w", (5,)), a=ModuleInfo("Linear", "torch.nn.Linear", parameters=("w",)))

    assert list(select(tree, where="kind == 'Linear'")) == ["a.w"]
    assert list(select(tree, "*.w", where="shape == (5,) and role == parameter and kind is None")) == ["b.w"]
    assert select(tree, where="numel > 100") == {}


def test_a_pattern_that_is_a_module_says_what_to_write() -> None:
    with pytest.raises(PatternError, match=r"^`a.b` is a module; `a.b.\*\*` matches the tensors in it$"):
        select(model(info("a.b.w")), "a.b")


def test_the_state_of_an_optimizer_has_a_role_of_its_own() -> None:
    tree = model(
        info("model.w"), info("optimizer.state.0.exp_avg"), optimizer=ModuleInfo(attributes={"param_groups": []})
    )

    assert {entry.name: entry.role for entry in selected(tree)} == {
        "model.w": "parameter",
        "optimizer.state.0.exp_avg": "optimizer",
    }
    assert sizes(selected(tree)).parameters == 6


def test_a_shared_module_has_its_tensors_under_each_name() -> None:
    tree, inner = Module(), model(info("w"))
    tree.add_module("first", inner)
    tree.add_module("second", inner)

    assert list(select(tree)) == ["first.w", "second.w"]


def test_a_module_that_holds_itself_is_entered_once() -> None:
    tree = model(info("a.w"))
    tree.get_submodule("a").add_module("up", tree)

    assert [name for name, *_ in named_modules(tree)] == ["", "a"]
    assert list(select(tree)) == ["a.w"]


def test_modules_shared_within_shared_modules_are_refused_before_they_fill_the_memory() -> None:
    tree = Module()
    for _ in range(40):
        above = Module()
        above.add_module("a", tree)
        above.add_module("b", tree)
        tree = above

    with pytest.raises(LimitError, match="shared within shared"):
        select(tree)


def test_bytes_are_those_of_the_union_of_extents() -> None:
    whole, first, second = info("whole", (8,)), info("first", (4,)), info("second", (6,), offset=8)
    apart = info("apart", (2,), offset=100)

    assert sizes(selected(model(whole, first, second, apart))).nbytes == 32 + 8


def test_totals_count_a_tied_tensor_once() -> None:
    shared = info("a.w", (10,), "bfloat16")
    tree = build(Index("memory", SOURCE, {"a.w": shared, "b.w": shared, "c.w": info("c.w", (3,))}).validate())

    total = sizes(selected(tree))

    assert (total.names, total.tensors, total.parameters, total.nbytes) == (3, 2, 13, 20)
    assert [(kind.name, count) for kind, count in total.elements["parameter"].items()] == [
        ("bfloat16", 10),
        ("float32", 3),
    ]
