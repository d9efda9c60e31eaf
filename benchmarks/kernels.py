"""What one core computes in a second: each kernel and element type, in C and by numpy, in gigabytes that it reads.

    python -m benchmarks.kernels [--quick]

By processor time, the best of several runs, on a piece of the size that the engine reads at once.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.measuring import machine
from statedict import accelerator, kernels
from statedict.dtypes import DTYPES, dtype
from statedict.expressions.arithmetic import Combination
from statedict.expressions.nodes import Leaf
from statedict.expressions.rounding import convert
from statedict.tree.tensor import Tensor

_PIECE = 1 << 20
_FLOATS = ("float64", "float32", "float16", "bfloat16")
_SUMMARIZED = (*_FLOATS, "float8_e4m3fn", "int64", "int32", "int16", "int8", "complex64")
_CASTS = (("float32", "bfloat16"), ("float32", "float16"), ("bfloat16", "float32"), ("float16", "float32"))

Work = tuple[str, int, Callable[[], Any]]
"""What it is called, the bytes that it reads, and itself."""


def works() -> Iterator[Work]:
    """Everything that is measured."""
    for name in _SUMMARIZED:
        yield f"summarize {dtype(name).short}", _PIECE, _summary(name)
    for name in ("float32", "bfloat16"):
        values = _weights(name)
        yield f"count {dtype(name).short}", _PIECE, _counting(values)
    for name, target in _CASTS:
        values, to = _weights(name), DTYPES[target]
        yield f"cast {dtype(name).short} to {to.short}", _PIECE, lambda values=values, to=to: convert(values, to)
    for name in ("float32", "bfloat16", "float16"):
        leaves = [Leaf(Tensor(_weights(name)).info) for _ in range(2)]
        made = Combination(((0.7, leaves[0]), (0.3, leaves[1])), 0, DTYPES[name])
        yield f"0.7 a + 0.3 b, {dtype(name).short}", 2 * _PIECE, lambda made=made: made.stored(0, made.numel)


def _weights(name: str) -> Any:
    """A piece of elements as weights are."""
    kind, count = DTYPES[name], _PIECE // DTYPES[name].itemsize
    values = np.random.default_rng(0).normal(0, 0.02 if kind.is_floating_point or kind.is_complex else 40, count)
    return values.astype(kind.to_numpy())


def _summary(name: str) -> Callable[[], Any]:
    values = _weights(name)
    return lambda: kernels.summarize(DTYPES[name], values)


def _counting(values: Any) -> Callable[[], Any]:
    return lambda: kernels.count(values, 16, 8 * values.itemsize - 16)


def speed(work: Work, seconds: float) -> float:
    """GB/s of one core, at its best within so many seconds."""
    _, nbytes, run = work
    run()
    best, end = float("inf"), time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.thread_time_ns()
        run()
        best = min(best, time.thread_time_ns() - begin)
    return nbytes / best


def main(given: list[str] | None = None) -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="each only once or twice: does it work at all?")
    seconds = 0.001 if parser.parse_args(given).quick else 0.5
    library = accelerator.library
    print(f"{machine()}. {accelerator.used()}.\n")
    print("| kernel                | C GB/s | numpy GB/s | times |")
    print("| --------------------- | -----: | ---------: | ----: |")
    for work in works():
        in_c = speed(work, seconds)
        try:
            accelerator.library = lambda: None  # type: ignore[assignment]
            by_numpy = speed(work, seconds)
        finally:
            accelerator.library = library
        print(f"| {work[0]:<21} | {in_c:6.2f} | {by_numpy:10.2f} | {in_c / by_numpy:5.1f} |", flush=True)


if __name__ == "__main__":
    main()
