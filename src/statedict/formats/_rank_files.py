"""The files of a distributed checkpoint's ranks, opened when they are read, and the tensors that were saved in them."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from statedict.composed import PartSource
from statedict.dtypes import DType
from statedict.errors import FormatError
from statedict.formats import torch_zip
from statedict.formats._stored import StoredTensor
from statedict.index import contiguous, shown, span
from statedict.limits import DEFAULT_LIMITS
from statedict.source import Extent, Folder, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Place = tuple[str, int, int]
"""A file's name, the first byte in it, and a length."""
_MOST_NAMED = 8


class RankFiles:
    """The files by name, each opened when it is read, as there are as many as ranks.

    Raises FormatError, naming them, where some are missing.
    """

    def __init__(self, folder: Folder, names: Iterable[Any]) -> None:
        self.folder = folder
        self._opened: dict[str, Source] = {}
        wanted = sorted({name for name in names if isinstance(name, str)})
        if away := [name for name in wanted if "/" in name or "\\" in name]:
            raise FormatError(
                f"{folder.name}: refers to the file `{shown(away[0])}` in another folder, which is not followed"
            )
        if missing := [name for name in wanted if name not in folder.names]:
            raise FormatError(
                f"{folder.name}: of its {len(wanted):,} files {len(missing):,} are missing: "
                f"{', '.join(map(shown, missing[:_MOST_NAMED]))}{', …' * (len(missing) > _MOST_NAMED)}; fetch them"
            )
        sizes = folder.sizes()
        self._sizes = {name: sizes[name] for name in wanted}

    def check(self, place: Place, where: str) -> None:
        """Nothing, where a place lies in its file. Raises FormatError otherwise."""
        file, offset, length = place
        size = self._sizes[file]
        if offset + length > size:
            raise FormatError(
                f"{where} ends at byte {offset + length:,} of {shown(file)}, which has {size:,}; "
                "it is truncated or still being written"
            )

    def part(self, place: Place, where: str) -> Source:
        """What lies at a place, as a file of its own."""
        file, offset, length = place
        source = self._opened.get(file)
        if source is None:
            source = self._opened[file] = self.folder.sibling(file)
        return PartSource(Extent(source, offset, length), where)

    def __reduce__(self) -> tuple[Any, ...]:
        return RankFiles, (self.folder, tuple(self._sizes))


class SavedTensor(Source):
    """The elements, row by row, of a tensor that is a `torch.save` file within a file, opened when it is read."""

    __slots__ = ("_dtype", "_files", "_found", "_place", "_shape")

    def __init__(self, files: RankFiles, place: Place, dtype: DType, shape: tuple[int, ...], where: str) -> None:
        self._files = files
        self._place = place
        self._dtype = dtype
        self._shape = shape
        self._found: StoredTensor | None = None
        self.name = where
        self.size = dtype.nbytes(math.prod(shape))

    def located(self, offset: int) -> tuple[Source, int]:
        extent, plain = self._stored()
        return extent.source.located(extent.offset + offset) if plain else (self, offset)

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise self.ends_before(offset + len(buffer))
        extent, plain = self._stored()
        if plain:
            extent.source.readinto_at(extent.offset + offset, buffer)
        else:
            buffer[:] = self._in_rows(extent)[offset : offset + len(buffer)].data

    def _stored(self) -> tuple[Extent, bool]:
        """The bytes from the first to the last element, and whether they are what this source has."""
        tensor = self._found = self._found or self._opened()
        storage, shape, stride = tensor.storage, tensor.shape or (), tensor.stride or ()
        reach = span(shape, stride)
        if storage is None or storage.extent is None or tensor.offset + reach > storage.numel:
            raise FormatError(f"{self.name}: its piece in {self._place[0]} reaches beyond its storage")
        size = self._dtype.itemsize
        extent = Extent(storage.extent.source, storage.extent.offset + tensor.offset * size, reach * size)
        return extent, stride == contiguous(shape) and not storage.big_endian

    def _opened(self) -> StoredTensor:
        tensor, _ = torch_zip.read_graph(self._files.part(self._place, self.name), DEFAULT_LIMITS)
        if not isinstance(tensor, StoredTensor) or tensor.special or tensor.dtype is not self._dtype:
            raise FormatError(f"{self.name}: its piece in {self._place[0]} is no plain tensor of {self._dtype}")
        if tensor.shape != self._shape or len(tensor.stride or ()) != len(self._shape):
            raise FormatError(f"{self.name}: its piece in {self._place[0]} is {tensor.shape}, not {self._shape}")
        return tensor

    def _in_rows(self, extent: Extent) -> "NDArray[np.uint8]":
        """The elements of a piece that was saved in other steps, or with the big end first; all are read."""
        import numpy as np
        from numpy.lib.stride_tricks import as_strided

        assert self._found is not None  # noqa: S101 - `extent` is of what was found
        size = self._dtype.itemsize
        stored = np.empty(extent.size, "u1")
        extent.source.readinto_at(extent.offset, stored.data)
        if self._found.storage is not None and self._found.storage.big_endian:
            stored = stored.view(f"u{size // 2 if self._dtype.is_complex else size}").byteswap().view("u1")
        steps = [step * size for step in self._found.stride or ()]
        rows = as_strided(stored.view(f"V{size}"), self._shape, steps)
        return np.ascontiguousarray(rows).reshape(-1).view("u1")

    def __reduce__(self) -> tuple[Any, ...]:
        return SavedTensor, (self._files, self._place, self._dtype, self._shape, self.name)
