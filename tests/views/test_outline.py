"""What the tree folds, and what it must not."""

import pytest

from statedict.index import Index, ModuleInfo, TensorInfo
from statedict.tree.build import build
from statedict.tree.module import Module
from statedict.views.lines import plain
from statedict.views.outline import Node, Outline
from statedict.views.tree import tree
from tests.ops.test_select import SOURCE, info, model


def labels(node: Node) -> list[str]:
    return [child.label for child in node.children]


def outline(tree_of: Module, *, unfold: bool = False) -> Node:
    return Outline(tree_of, unfold=unfold).root


def test_numbered_siblings_that_look_the_same_fold() -> None:
    found = outline(model(*(info(f"layers.{at}.w") for at in range(32)), info("head.w")))

    assert labels(found) == ["layers.0-31", "head"]
    assert found.children[0].count == 32
    assert found.children[0].sizes().parameters == 32 * 6


def test_unfolded_each_has_its_line() -> None:
    found = outline(model(*(info(f"layers.{at}.w") for at in range(3))), unfold=True)

    assert labels(found.children[0]) == ["0", "1", "2"]


@pytest.mark.parametrize("other", [info("a.2.w", (3, 2)), info("a.2.w", (2, 3), "float16"), info("a.2.v")])
def test_another_shape_type_or_name_ends_a_fold(other: TensorInfo) -> None:
    found = outline(model(info("a.0.w"), info("a.1.w"), other, info("a.3.w"), info("a.4.w")))

    assert labels(found.children[0]) == ["0-1", "2", "3-4"]


def test_a_gap_in_the_numbers_ends_a_fold() -> None:
    found = outline(model(*(info(f"a.{at}.w") for at in (0, 1, 3, 4, 10))))

    assert labels(found.children[0]) == ["0-1", "2", "3-4", "5-9", "10"]


def test_another_kind_or_setting_ends_a_fold() -> None:
    def dropout(p: float) -> ModuleInfo:
        name = "torch.nn.modules.dropout.Dropout"
        return ModuleInfo("Dropout", name, {"p": p, "inplace": False})

    modules = {f"a.{at}": dropout(p) for at, p in enumerate((0.1, 0.1, 0.5))} | {"a.3": ModuleInfo("Identity")}
    found = outline(build(Index("memory", SOURCE, {}, modules).validate()))

    assert labels(found.children[0]) == ["0-1", "2", "3"]


def test_blocks_tied_to_the_first_fold_without_it() -> None:
    shared = info("a.0.w")
    found = outline(build(Index("memory", SOURCE, {f"a.{at}.w": shared for at in range(4)}).validate()))

    assert labels(found.children[0]) == ["0", "1-3"]
    assert found.sizes().parameters == 6


def test_folds_fold_within_folds() -> None:
    found = outline(model(*(info(f"a.{one}.b.{two}.w") for one in range(3) for two in range(4))))

    assert labels(found) == ["a.0-2"]
    assert labels(found.children[0]) == ["b.0-3"]
    assert found.sizes().parameters == 3 * 4 * 6


def test_the_state_of_an_optimizer_folds_whatever_its_shapes_and_numbers() -> None:
    infos = [info(f"o.state.{at}.exp_avg", (size,)) for at, size in ((1400, 2), (17, 3), (99, 4))]
    found = outline(model(*infos, o=ModuleInfo(attributes={"param_groups": []})))

    assert labels(found.children[0]) == ["state.1400…99"]
    assert "[…]" in plain(tree(Outline(model(*infos, o=ModuleInfo(attributes={"param_groups": []}))), "x"))


def test_names_that_only_look_like_numbers_do_not_fold() -> None:
    found = outline(model(*(info(f"a.{name}.w") for name in ("٣", "٤", "00", "01", "9" * 5_000))))

    assert len(labels(found.children[0])) == 5


def test_a_shared_module_is_shown_once_and_named_after() -> None:
    root, inner = Module(), model(info("w"))
    root.add_module("first", inner)
    root.add_module("second", inner)
    inner.add_module("up", root)

    text = plain(tree(Outline(root), "x"))

    assert [line.split() for line in text.splitlines() if "=" in line] == [
        ["│", "└─", "up", "=", "the", "whole"],
        ["└─", "second", "=", "first"],
    ]


def test_only_what_was_asked_for_is_shown_with_the_way_there() -> None:
    found = Outline(model(info("a.b.w"), info("a.b.v"), info("a.c.w"), info("d.w")), only={"a.b.w", "d"}).root

    assert labels(found) == ["a", "d"]
    assert [entry.name for entry in found.entries] == ["a.b.w", "d.w"]


def test_lines_of_a_tree_fit_a_terminal_of_any_width() -> None:
    shown = Outline(model(*(info(f"module.layers.{at}.{'deep.' * at}weight") for at in range(12))))

    for width in range(20, 120):
        for line in tree(shown, "file.pt", width=width):
            assert sum(len(text) for text, _ in line) <= width
