"""What the tests of each format's writer need: an index of live tensors, and plans as bytes, in the simplest way."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from statedict.dtypes import DTYPES
from statedict.index import EMPTY, Index, ModuleInfo, TensorInfo
from statedict.plan import Late, Plan, Summed
from statedict.source import BytesSource, Extent
from tests.formats.stored import bits

NOWHERE = BytesSource(b"", "memory")


def plain(name: str, dtype: str, shape: tuple[int, ...], data: bytes) -> TensorInfo:
    """A tensor of these elements, which lie between others in their file."""
    extent = Extent(BytesSource(b"before" + data + b"behind", "data"), 6, len(data))
    return TensorInfo(name, DTYPES[dtype], shape, extent)


def flat(
    tensors: Mapping[str, torch.Tensor | TensorInfo],
    metadata: Mapping[str, Any] = EMPTY,
    attributes: Mapping[str, Any] = EMPTY,
) -> Index:
    """The index of these tensors as writers get it. Names of one and the same tensor are tied."""
    made: dict[int, TensorInfo] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, TensorInfo):
            made.setdefault(id(tensor), tensor)
        elif id(tensor) not in made:
            dtype = str(tensor.dtype).removeprefix("torch.")
            made[id(tensor)] = plain(name, dtype, tuple(tensor.shape), bits(tensor))
    infos = {name: made[id(tensor)] for name, tensor in tensors.items()}
    return Index("memory", NOWHERE, infos, {"": ModuleInfo(attributes=attributes)}, metadata)


def bytes_of_plan(plan: Plan) -> bytes:
    """The file that the plan describes."""
    sums = [zlib.crc32(piece.extent.read()) for piece in plan.pieces if isinstance(piece, Summed)]
    parts: list[bytes] = []
    for piece in plan.pieces:
        if isinstance(piece, bytes):
            parts.append(piece)
        elif isinstance(piece, Late):
            parts.append(piece.make(sums))
            assert len(parts[-1]) == piece.size
        else:
            parts.append((piece.extent if isinstance(piece, Summed) else piece).read())
    data = b"".join(parts)
    assert len(data) == plan.size
    return data


def write_plans(folder: Path, plans: Mapping[str, Plan]) -> None:
    """The files that the plans describe, in a folder."""
    for name, plan in plans.items():
        (folder / name).write_bytes(bytes_of_plan(plan))


@st.composite
def indexes(draw: st.DrawFn, dtypes: list[str], names: st.SearchStrategy[str], dimensions: int = 4) -> Index:
    """Indexes of a few tensors of any bits, some of them tied."""
    tensors: dict[str, TensorInfo] = {}
    for name in draw(st.lists(names, unique=True, max_size=8)):
        if tensors and draw(st.integers(0, 3)) == 0:
            tensors[name] = draw(st.sampled_from(list(tensors.values())))
            continue
        dtype, shape = DTYPES[draw(st.sampled_from(dtypes))], draw(st.lists(st.integers(0, 3), max_size=dimensions))
        numel = int(torch.Size(shape).numel())
        if dtype.name == "bool":
            data = bytes(draw(st.lists(st.integers(0, 1), min_size=numel, max_size=numel)))
        else:
            data = draw(st.binary(min_size=dtype.nbytes(numel), max_size=dtype.nbytes(numel)))
        tensors[name] = plain(name, dtype.name, tuple(shape), data)
    return flat(tensors)


def same_contents(index: Index, expected: Index) -> None:
    """Names, types, shapes and bits are the same, in whatever order."""
    assert index.tensors.keys() == expected.tensors.keys()
    for name, info in index.tensors.items():
        other = expected.tensors[name]
        assert (info.dtype, info.shape, info.stride) == (other.dtype, other.shape, other.stride), name
        assert info.extent is not None
        assert other.extent is not None
        assert info.extent.read() == other.extent.read(), name
