"""Rows that begin alike, beside a plain oracle, however the tensor is cut."""

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from statedict.alike import Alike, looking
from statedict.engine import Placed, run
from statedict.tree.tensor import Tensor


def oracle(values: np.ndarray[Any, Any]) -> tuple[int, ...]:
    begins = [row.reshape(-1)[:8].tobytes() for row in values]
    return tuple(at for at, each in enumerate(begins) if begins.count(each) > 1 and any(each))


@given(st.integers(2, 40), st.integers(8, 40), st.integers(3, 200), st.integers(0, 9))
def test_every_cut_finds_what_the_oracle_does(rows: int, length: int, cut: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, 2, (4, length)).astype("f4")[random.integers(0, 4, rows)]
    values[random.random(rows) < 0.3] = random.random(length, "f4")
    info = Tensor(values).info
    job = looking(info, None)
    assert job is not None
    assert isinstance(job.kernel, Placed)
    assert job.finish is not None
    found: Any = None
    flat = values.reshape(-1)
    for start in range(0, len(flat), cut):
        value = job.kernel.at(start)(info.dtype, flat[start : start + cut])
        found = value if found is None else job.merge(found, value)
    assert job.finish(found) == Alike(rows, oracle(values))


def test_through_the_engine() -> None:
    weight = torch.randn(700, 3000, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight[[3, 400, 699]] = weight[20].clone()
    job = looking(Tensor(weight).info, "Linear")
    assert job is not None
    for threads in (1, 3):
        assert run([job], threads=threads) == [Alike(700, (3, 20, 400, 699))]


def test_what_is_not_looked_at() -> None:
    def looked_at(tensor: torch.Tensor, kind: str | None = None) -> bool:
        return looking(Tensor(tensor).info, kind) is not None

    assert looked_at(torch.ones(4, 8))
    assert looked_at(torch.ones(4, 2, 2, 2), "Conv2d")
    assert not looked_at(torch.ones(4, 2, 2, 2), "ConvTranspose2d")
    assert not looked_at(torch.ones(4, 2, 8))
    assert not looked_at(torch.ones(4, 7))
    assert not looked_at(torch.ones(1, 8))
    assert not looked_at(torch.ones(8))
    assert not looked_at(torch.ones(8, 8).T[:, ::2])
    assert not looked_at(torch.ones(4, 8).to(torch.float8_e4m3fn))
