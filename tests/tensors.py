"""Tensors as a reader describes them, for tests."""

from typing import Any

from statedict.dtypes import dtype
from statedict.index import Index, TensorInfo
from statedict.source import Extent, Source
from statedict.tree.tensor import Tensor


def described(source: Source, kind: str, shape: tuple[int, ...], **fields: Any) -> Tensor:
    info = TensorInfo("t", dtype(kind), shape, Extent(source, 0, source.size), **fields)
    Index("", source, {"t": info}).validate()
    return Tensor(info)
