"""Columns against the dict that they stand for, and what a huge model costs by them."""

import pickle
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import huge
from statedict import accelerator
from statedict.columns import Columns
from statedict.dtypes import DTYPES
from statedict.errors import FormatError
from statedict.index import Index, TensorInfo
from statedict.opening import read_index
from statedict.source import BytesSource, Extent
from statedict.tree.build import build
from statedict.views.outline import Outline

FLOAT, BYTE = DTYPES["float32"], DTYPES["uint8"]


def columns(*names: str, source: BytesSource | None = None, step: int = 8) -> Columns:
    """Pairs of floats, one behind the other."""
    offsets = [step * at for at in range(len(names))]
    where = source or BytesSource(bytes(8 * len(names)))
    return Columns(where, list(names), [FLOAT] * len(names), [(2,)] * len(names), offsets, [8] * len(names))


def infos(held: Columns, source: BytesSource, step: int = 8) -> dict[str, TensorInfo]:
    return {name: TensorInfo(name, FLOAT, (2,), Extent(source, step * at, 8)) for at, name in enumerate(held)}


NAMES = st.lists(st.text("abc.", max_size=4), max_size=8, unique=True)


@given(NAMES, st.data())
def test_columns_are_the_dict_of_their_tensors(names: list[str], data: st.DataObject) -> None:
    source = BytesSource(bytes(8 * len(names)))
    held = columns(*names, source=source)
    expected = infos(held, source)
    early = {name: held[name] for name in data.draw(st.lists(st.sampled_from(names)) if names else st.just([]))}

    assert list(held) == names
    assert len(held) == len(names)
    assert held == expected
    assert list(held.items()) == list(expected.items())
    assert list(held.values()) == list(expected.values())
    assert "none of them" not in held
    assert all(held[name] is info for name, info in early.items())
    assert [held.info(at) for at in range(len(names))] == [held[name] for name in names]
    assert held.info(0) is held.info(0) if names else True


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_joined_ones_are_one_after_the_other(several: list[list[str]]) -> None:
    parts = [columns(*(f"{at}.{name}" for name in names)) for at, names in enumerate(several)]
    held = Columns.joined(parts)

    assert list(held.items()) == [item for part in parts for item in part.items()]
    again = Columns.joined([Columns.joined(parts[:1]), *([Columns.joined(parts[1:])] if parts[1:] else [])])
    assert [again.info(at) for at in range(len(again))] == list(held.values())
    assert again.apart()


def test_a_tensor_that_is_asked_for_by_name_is_the_only_one_made() -> None:
    held = columns("a", "b", "c")
    found = held["b"]

    assert found is held.info(1)
    assert list(held._made) == [1]
    assert held["b"] is found
    with pytest.raises(KeyError):
        held["d"]


def test_a_file_without_tensors_is_none_of_theirs() -> None:
    first, second, third = (BytesSource(bytes(size)) for size in (8, 0, 16))
    held = Columns.joined([columns("a", source=first), columns(source=second), columns("b", "c", source=third)])

    assert held.sources() == [first, third]
    assert held.info(1).extent == Extent(third, 0, 8)


def test_they_travel() -> None:
    held = columns("a", "b")

    again = pickle.loads(pickle.dumps(held))
    assert [(info.name, info.shape, info.extent.offset) for info in again.values()] == [("a", (2,), 0), ("b", (2,), 8)]


@pytest.mark.parametrize(("step", "size", "apart"), [(8, 16, True), (12, 20, True), (4, 16, False), (0, 8, False)])
def test_whether_they_share_bytes(step: int, size: int, apart: bool) -> None:
    assert columns("a", "b", source=BytesSource(bytes(size)), step=step).apart() is apart


def test_those_of_one_file_taken_twice_share_bytes() -> None:
    source = BytesSource(bytes(8))

    assert not Columns.joined([columns("a", source=source), columns("b", source=source)]).apart()


WRONG = {
    "ends at byte 16": columns("a", "b", source=BytesSource(bytes(15))),
    "takes 8 bytes": Columns(BytesSource(bytes(8)), ["a"], [FLOAT], [(3,)], [0], [8]),
    "impossible shape": Columns(BytesSource(b""), ["a"], [BYTE], [(1 << 63, 0)], [0], [0]),
    "ends at byte 0": Columns(BytesSource(bytes(8)), ["a"], [FLOAT], [(2,)], [-8], [8]),
}


@pytest.mark.parametrize(("said", "wrong"), WRONG.items())
def test_what_is_wrong_is_said_of_the_tensor(said: str, wrong: Columns) -> None:
    assert not wrong.proved()
    with pytest.raises(FormatError, match=rf"tensor `[ab]` .*{said}"):
        Index("hand", BytesSource(b""), wrong).validate()


def test_what_is_right_is_proved_without_a_tensor_made() -> None:
    held = columns("a", "b")

    assert held.proved()
    Index("hand", BytesSource(b""), held).validate()
    assert not held._made


@pytest.mark.slow
@pytest.mark.skipif(accelerator.headers() is None, reason="the C code was not built, without which JSON takes more")
def test_a_huge_model_costs_few_bytes_a_tensor(tmp_path: Path) -> None:
    count, total = huge.write(tmp_path / "model", 100_000, layers=40, shards=25)
    tracemalloc.start()
    try:
        index = read_index(tmp_path / "model")
        model = build(index)
        opened = tracemalloc.get_traced_memory()[0]
        sizes = Outline(model).root.sizes()
        drawn, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (sizes.tensors, sizes.nbytes) == (count, total)
    assert isinstance(index.tensors, Columns)
    assert len(index.tensors._made) < count / 100  # what is drawn is of three blocks of each list
    assert opened / count < 200  # its name, and 40 bytes beside it
    assert drawn / count < 250
    assert most / count < 450  # while the list of shards is held, which is forgotten


def test_the_huge_model_is_one_that_safetensors_reads(tmp_path: Path) -> None:
    from safetensors import safe_open

    count, total = huge.write(tmp_path / "model", 100, layers=4, shards=3)
    assert count == 4 * (9 + 3 * 5) + 3
    assert total == sum(info.nbytes for info in read_index(tmp_path / "model").tensors.values())
    names: list[str] = []
    for file in sorted((tmp_path / "model").glob("*.safetensors")):
        with safe_open(file, "pt") as held:
            names += held.keys()
    assert sorted(names) == sorted(name for name, _ in huge.tensors(100, 4))
