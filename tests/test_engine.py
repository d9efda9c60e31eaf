"""The same bits for any number of threads and any executor, every byte read once, in bounded pieces; clean stops."""

import itertools
import pickle
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

import statedict
from statedict import engine, units
from statedict.accelerator import BLOCK
from statedict.distribution import counting
from statedict.dtypes import DTYPES, DType
from statedict.engine import Job, in_any_order, plan, run, together
from statedict.executors import Cluster
from statedict.index import Encoding, TensorInfo
from statedict.kernels import merge, summarize
from statedict.moments import Summary
from statedict.source import BytesSource, Extent, Source
from statedict.summarizing import SUMMARIZE
from statedict.tree.tensor import Tensor
from tests.numbers import ALL, ordinary_elements, random_elements

SIZES = (0, 1, 5, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3)


class Watched(Source):
    """A source that notes what is read of it."""

    def __init__(self, data: bytes) -> None:
        self.name, self.size = "watched", len(data)
        self._data = BytesSource(data)
        self.reads: list[tuple[int, int]] = []

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        self.reads.append((offset, len(buffer)))
        self._data.readinto_at(offset, buffer)

    def __reduce__(self) -> Any:
        return Watched, (self._data.read_at(0, self.size),)


def summaries(infos: list[TensorInfo], **how: Any) -> list[Summary | None]:
    return run([Job(info, summarize, merge) for info in infos], **how)


def side_by_side(gap: int = 0) -> tuple[Watched, list[TensorInfo]]:
    """Tensors of all kinds of sizes in one source, so many bytes apart."""
    parts: list[bytes] = []
    infos: list[TensorInfo] = []
    for seed, (name, numel) in enumerate(itertools.product(("bfloat16", "float32", "int8"), SIZES)):
        data = random_elements(name, numel, seed).tobytes()
        infos.append(TensorInfo(f"{name}.{numel}", DTYPES[name], (numel,), None))
        parts += [data, b"\0" * gap]
    source = Watched(b"".join(parts))
    starts = itertools.accumulate(map(len, parts[::2]), lambda end, size: end + gap + size, initial=-gap)
    placed = [
        info._replace(extent=Extent(source, start + gap, info.nbytes))
        for info, start in zip(infos, starts, strict=False)
    ]
    return source, placed


@pytest.mark.parametrize("name", ALL)
def test_a_tensors_value_is_that_of_its_elements(name: str) -> None:
    values = random_elements(name, 3000)
    assert repr(summaries([Tensor(values).info])[0]) == repr(summarize(DTYPES[name], values))


def test_nothing_depends_on_who_works() -> None:
    _, infos = side_by_side()
    expected = repr(summaries(infos, threads=1))
    assert [repr(summaries(infos, threads=threads)) for threads in (2, 3, 16)] == [expected] * 3
    with ThreadPoolExecutor(4) as executor:
        assert repr(summaries(infos, executor=executor)) == expected


@pytest.mark.slow
def test_other_processes_work_as_well() -> None:
    _, infos = side_by_side()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        assert repr(summaries(infos, executor=executor)) == repr(summaries(infos, threads=1))


def test_units_of_a_file_pickle_small(tmp_path: Path) -> None:
    save_file({"w": np.zeros(3 * BLOCK, "f4")}, tmp_path / "w.safetensors")
    info = statedict.open(tmp_path / "w.safetensors").get_parameter("w").info
    assert max(len(pickle.dumps(unit)) for unit in plan([Job(info, summarize, merge)])) < 1000


@pytest.mark.parametrize("gap", [0, 3])
def test_every_byte_is_read_once_in_bounded_pieces(gap: int) -> None:
    source, infos = side_by_side(gap)
    summaries(infos, threads=1)
    ends = [(start, start + size) for start, size in sorted(source.reads)]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(ends))
    assert sum(size for _, size in source.reads) == sum(info.nbytes for info in infos)
    assert max(size for _, size in source.reads) <= 1 << 22
    assert source.reads == sorted(source.reads)


def test_small_neighbours_are_read_at_once() -> None:
    source = Watched(bytes(4000))
    infos = [TensorInfo(f"b{at}", DTYPES["float32"], (10,), Extent(source, 40 * at, 40)) for at in range(100)]
    assert {found.zeros for found in summaries(infos[::-1], threads=1) if found} == {10}
    assert source.reads == [(0, 4000)]


@pytest.mark.parametrize("step", [1, 2])
def test_strided_views_and_transposed_ones(step: int) -> None:
    values = torch.randn(300, 500, generator=torch.Generator().manual_seed(0))[:, ::step].T
    found = summaries([Tensor(values).info])[0]
    assert found is not None
    assert found == summaries([Tensor(values.contiguous()).info])[0]


def test_what_lies_in_one_go_is_read_in_one_go() -> None:
    source = Watched(ordinary_elements("float32", 6000).tobytes())
    info = TensorInfo("t", DTYPES["float32"], (60, 10, 10), Extent(source, 0, 24000), stride=(1, 60, 600))
    assert summaries([in_any_order(info)], threads=1) == summaries([info._replace(stride=None, shape=(6000,))])
    assert source.reads[0] == (0, 24000)
    sparse = info._replace(shape=(6, 10), stride=(1, 600))
    assert in_any_order(sparse) is sparse


def test_encodings_are_taken_off() -> None:
    big = np.arange(5, dtype=">f4")
    info = TensorInfo("b", DTYPES["float32"], (5,), Extent(BytesSource(big.tobytes()), 0, 20))
    (found,) = summaries([info._replace(encoding=Encoding(byteorder="big", neg=True))])
    assert found is not None
    assert (found.min, found.max, found.total) == (-4, 0, -10)


def test_pairs_in_a_byte_count_as_two() -> None:
    info = TensorInfo("p", DTYPES["float4_e2m1fn_x2"], (2,), Extent(BytesSource(b"\x02\x10"), 0, 2))
    (found,) = summaries([info])
    assert found is not None
    assert (found.count, found.zeros, found.max) == (4, 2, 1)  # 1, 0, 0, 0.5


def test_what_has_no_plain_values_says_so() -> None:
    with pytest.raises(TypeError, match="is quantised"):
        summaries([TensorInfo("q", DTYPES["qint8"], (3,), Extent(BytesSource(b"abc"), 0, 3))])
    with pytest.raises(TypeError, match="without its values"):
        summaries([Tensor(torch.ones(3, device="meta")).info])


# On the way


def test_progress_is_told_in_bytes() -> None:
    _, infos = side_by_side()
    told: list[tuple[int, int]] = []
    summaries(infos, progress=lambda done, total: told.append((done, total)))
    total = sum(info.nbytes for info in infos)
    assert told == sorted(told)
    assert told[-1] == (total, total)


def first_one_interrupts(dtype: DType, values: NDArray[Any]) -> int:
    raise KeyboardInterrupt


def first_one_fails(dtype: DType, values: NDArray[Any]) -> int:
    raise ZeroDivisionError


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "error"), [(first_one_interrupts, KeyboardInterrupt), (first_one_fails, ZeroDivisionError)]
)
def test_an_error_stops_the_work(kernel: Callable[[Any, Any], int], error: type[BaseException], threads: int) -> None:
    source = Watched(bytes(40 << 20))
    info = TensorInfo("w", DTYPES["uint8"], (source.size,), Extent(source, 0, source.size))
    with pytest.raises(error):
        run([Job(info, kernel, max)], threads=threads)
    assert len(source.reads) <= 4 * (engine._WAITING * threads + threads)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("statedict_")]


class Counting(Executor):
    """Works at once, and counts what was submitted before a result was asked for."""

    def __init__(self) -> None:
        self.waiting = self.most = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        counting, value = self, fn(*args, **kwargs)

        class Done(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                counting.waiting -= 1
                return value

        return Done()


def test_few_results_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_UNIT", 1 << 22)
    source = Watched(bytes(300 << 20))
    info = TensorInfo("w", DTYPES["bool"], (source.size,), Extent(source, 0, source.size))
    executor = Counting()
    run([Job(info, len_of, max)], executor=executor)
    assert executor.most == 2 * engine._CLUSTER + 1


class Elsewhere(Counting, Cluster):
    """A cluster that does the work here, and notes how large units are."""

    workers = 2

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def unit_bytes(self, total: int) -> int:
        return total // 5

    def submit_at(self, turn: int, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        assert turn == len(self.sizes)
        self.sizes.append(sum(read.size for read in arguments[0]))
        return self.submit(function, *arguments)


def test_a_cluster_says_how_large_units_are() -> None:
    source = Watched(bytes(80 << 20))
    info = TensorInfo("w", DTYPES["bool"], (source.size,), Extent(source, 0, source.size))
    cluster = Elsewhere()

    assert run([Job(info, len_of, max)], executor=cluster) == [1 << 22]
    assert cluster.sizes == [16 << 20] * 5


def test_of_a_source_that_waits_little_is_fetched_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the unit: what is fetched ahead is in memory."""
    monkeypatch.setattr(units, "_FETCHED", 1 << 24)
    told: list[int] = []

    class Waiting(Watched):
        waits = True

        def will_read(self, ranges: Iterable[tuple[int, int]]) -> None:
            told.append(sum(end - start for start, end in ranges))

    source = Waiting(bytes(80 << 20))
    info = TensorInfo("w", DTYPES["bool"], (source.size,), Extent(source, 0, source.size))
    cluster = Elsewhere()
    cluster.unit_bytes = lambda total: total

    assert run([Job(info, len_of, max)], executor=cluster) == [1 << 22]
    assert cluster.sizes == [80 << 20]
    assert told == [1 << 24] * 5


class Noting(Elsewhere):
    """Notes how many values come back, too, and how many bytes they are."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[tuple[int, int]] = []

    def submit_at(self, turn: int, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future = super().submit_at(turn, function, *arguments)
        values = future.result()
        self.waiting += 1
        self.came.append((sum(value is not None for value in values), len(pickle.dumps(values))))
        return future


@pytest.mark.parametrize("name", ["bfloat16", "float32", "float64"])
def test_counts_are_merged_where_they_are_made(name: str) -> None:
    """Those of each 4 MiB are 512 KiB: of a unit they come back once. Sums, whose bits depend on it, do as before."""
    data = ordinary_elements(name, (40 << 20) // DTYPES[name].itemsize).tobytes()
    info = TensorInfo("w", DTYPES[name], (len(data) // DTYPES[name].itemsize,), Extent(BytesSource(data), 0, len(data)))

    def jobs() -> list[Job[Any]]:
        both = together([Job(info, SUMMARIZE, Summary.merge), counting(info)])
        return [both, counting(info)]

    cluster, alone = Noting(), Noting()
    found = run(jobs()[:1], executor=cluster)
    counts = run(jobs()[1:], executor=alone)

    assert pickle.dumps(found) == pickle.dumps(run(jobs()[:1], threads=1))
    assert pickle.dumps(counts) == pickle.dumps(run(jobs()[1:], threads=2))
    assert cluster.sizes == alone.sizes == [8 << 20] * 5
    assert [came for came, _ in cluster.came] == [2] * 5
    assert [came for came, _ in alone.came] == [1] * 5
    assert max(size for _, size in cluster.came + alone.came) < 600_000


def len_of(dtype: DType, values: NDArray[Any]) -> int:
    return len(values)
