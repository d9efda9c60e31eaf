"""`rows` against what it saves the making of: the tree, walked."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statedict.dtypes import dtype
from statedict.index import Index, ModuleInfo, TensorInfo
from statedict.opening import read_index
from statedict.ops.select import named_tensors
from statedict.source import BytesSource, Extent
from statedict.tree.build import build
from statedict.tree.rows import aliases, rows
from tests import sample_checkpoints

SOURCE = BytesSource(bytes(64))
EXAMPLES = Path(__file__).parent.parent.parent / "examples"

NAMES = st.lists(
    st.sampled_from(
        ["weight", "bias", "running_mean", "scale", "state", "param_groups", "0", "1", "10", "2", "01", ""]
    ),
    min_size=1,
    max_size=4,
).map(".".join)
INFOS = st.builds(
    lambda kind, shape: TensorInfo("", dtype(kind), shape, Extent(SOURCE, 0, 0)),
    st.sampled_from(["float32", "int64"]),
    st.sampled_from([(0,), (1, 1, 4, 4), None]),
)
MODULES = st.builds(
    ModuleInfo,
    class_name=st.sampled_from([None, None, "torch.nn.modules.container.Sequential"]),
    container=st.sampled_from([None, None, "dict", "list"]),
    attributes=st.sampled_from([{}, {}, {"param_groups": []}]),
    parameters=st.sampled_from([(), (), ("scale", "weight")]),
    buffers=st.sampled_from([(), (), ("bias",)]),
    modules=st.sampled_from([(), (), ("1", "0")]),
)


@st.composite
def indexes(draw: st.DrawFn) -> Index:
    """Of names that meet, tensors of several names, modules of several names, with and without an order."""
    infos = draw(st.lists(INFOS, min_size=1, max_size=6))
    tensors = draw(st.dictionaries(NAMES, st.sampled_from(infos), max_size=12))
    described = draw(st.lists(MODULES, min_size=1, max_size=6))
    modules = draw(st.dictionaries(NAMES | st.just(""), st.sampled_from(described), max_size=4))
    return Index("hand", SOURCE, tensors, modules, ordered=draw(st.booleans()))


def assert_as_the_tree_has_them(index: Index) -> bool:
    """Assert that each row is the tree's; return whether there are rows."""
    found = rows(index)
    if found is None:
        return False
    entries = list(named_tensors(build(index)))
    assert [(row.name, row.role) for row in found] == [(entry.name, entry.role) for entry in entries]
    assert all(row.info is entry.info for row, entry in zip(found, entries, strict=True))
    assert aliases(found) == aliases(entries)
    return True


@given(indexes())
def test_any_index_is_listed_as_its_tree_is(index: Index) -> None:
    assert_as_the_tree_has_them(index)


@given(st.dictionaries(NAMES.filter(lambda name: "state" not in name), INFOS, max_size=20), st.booleans())
def test_bare_tensors_need_no_tree(tensors: dict[str, TensorInfo], ordered: bool) -> None:
    assert assert_as_the_tree_has_them(Index("hand", SOURCE, tensors, ordered=ordered))


def test_real_checkpoints_are_listed_as_their_trees_are(tmp_path: Path) -> None:
    sample_checkpoints.write_all(tmp_path)
    files = [*tmp_path.iterdir(), *(path for path in EXAMPLES.rglob("*") if path.suffix in {".pth", ".pt"})]
    without_tree = {path.name for path in files if assert_as_the_tree_has_them(read_index(path))}
    assert without_tree >= {"net.pt", "net.safetensors", "language.pt", "hostile.pt", "tensor.pt", "tiny.pth"}


TENSOR = TensorInfo("w", dtype("float32"), (0,), Extent(SOURCE, 0, 0))
SHARED = ModuleInfo()


@pytest.mark.parametrize(
    "index",
    [
        Index("hand", SOURCE, {"a.w": TENSOR}, {"a": SHARED, "b": SHARED}),
        Index("hand", SOURCE, {"a.w": TENSOR}, {"a": ModuleInfo(parameters=("w",))}),
        Index("hand", SOURCE, {"a.0.w": TENSOR}, {"a": ModuleInfo(container="dict")}, ordered=False),
        Index("hand", SOURCE, {"o.state.0.w": TENSOR}, {"o": ModuleInfo(attributes={"param_groups": []})}),
        Index("hand", SOURCE, {"o.state.0.w": TENSOR, "o.param_groups.0.lr": TENSOR}),
    ],
)
def test_what_only_the_tree_tells_is_left_to_it(index: Index) -> None:
    assert rows(index) is None


def test_a_tie_is_named_by_its_later_names() -> None:
    index = Index("hand", SOURCE, {"b.w": TENSOR, "a": TENSOR, "b.c": TENSOR})
    found = rows(index)
    assert found is not None
    assert aliases(found) == {"b.w": "a", "b.c": "a"}
