"""The plain tensors of files as columns, 160 bytes a tensor: a `TensorInfo` is made when somebody asks for it."""
# ruff: noqa: SLF001  Columns look inside those that they are joined of.

import math
from array import array
from bisect import bisect_right
from collections.abc import ItemsView, Iterable, Iterator, Sequence, ValuesView
from itertools import chain, islice, pairwise, repeat
from operator import add, le

from statedict import tuples
from statedict.dtypes import DType
from statedict.index import PLAIN, Described, TensorInfo, is_possible
from statedict.source import Extent, Source

Shape = tuple[int, ...]


class Columns(Described):
    """Tensors on the CPU of which nothing is to be said but type, shape and place, each under one name.

    As a mapping it is the dict of them, in order. What was made once is kept, so that each is one object.
    """

    __slots__ = (
        "_infos",
        "_made",
        "_offsets",
        "_positions",
        "_sizes",
        "_sources",
        "_starts",
        "dtypes",
        "names",
        "shapes",
    )

    names: list[str]
    dtypes: list[DType]
    shapes: list[Shape]

    def __init__(
        self,
        source: Source,
        names: list[str],
        dtypes: list[DType],
        shapes: list[Shape],
        offsets: Iterable[int],
        sizes: Iterable[int],
    ) -> None:
        """Of one file, in the order of their bytes. All names are to be different."""
        self.names, self.dtypes, self.shapes = names, dtypes, shapes
        self._offsets, self._sizes = array("q", offsets), array("q", sizes)
        self._sources: list[Source] = [source]
        self._starts: list[int] = [0]
        self._made: dict[int, TensorInfo] = {}
        self._positions: dict[str, int] | None = None
        self._infos: dict[str, TensorInfo] | None = None

    @classmethod
    def joined(cls, parts: "Sequence[Columns]") -> "Columns":
        """Those of several files, one after the other, of which no two have the same name."""
        made = cls(parts[0]._sources[0], [], [], [], (), ())
        made._sources, made._starts = [], []
        for part in parts:
            made._starts += [len(made.names) + start for start in part._starts]
            made._sources += part._sources
            made.names += part.names
            made.dtypes += part.dtypes
            made.shapes += part.shapes
            made._offsets += part._offsets
            made._sizes += part._sizes
        return made

    def apart(self) -> bool:
        """Whether no two tensors have a byte in common."""
        if len({*map(id, self._sources)}) < len(self._sources):
            return False
        ends = map(add, self._offsets, self._sizes)
        follow = map(le, ends, islice(self._offsets, 1, None))
        lasts = {start - 1 for start in self._starts}
        return all(follows or at in lasts for at, follows in enumerate(follow))

    def proved(self) -> bool:
        for dtype, shape, size in {*zip(self.dtypes, self.shapes, self._sizes, strict=True)}:
            if not is_possible(shape) or size != dtype.nbytes(math.prod(shape)):
                return False
        return min(self._offsets, default=0) >= 0 and all(
            max(map(add, self._offsets[start:end], self._sizes[start:end]), default=0) <= source.size
            for source, start, end in self._runs()
        )

    def _runs(self) -> Iterator[tuple[Source, int, int]]:
        """Each source, and where its tensors begin and end."""
        ends = pairwise([*self._starts, len(self.names)])
        return ((source, start, end) for source, (start, end) in zip(self._sources, ends, strict=True))

    def sources(self) -> list[Source]:
        """The files that there are tensors of."""
        return [source for source, start, end in self._runs() if start < end]

    def info(self, at: int, *, keep: bool = True) -> TensorInfo:
        """The tensor at a position; unless it is to be kept, another object may be made of it later."""
        if self._infos is not None:
            return self._infos[self.names[at]]
        if (found := self._made.get(at)) is None:
            source = self._sources[bisect_right(self._starts, at) - 1]
            extent = Extent(source, self._offsets[at], self._sizes[at])
            found = TensorInfo(self.names[at], self.dtypes[at], self.shapes[at], extent)
            if keep:
                self._made[at] = found
        return found

    # As a mapping

    def __getitem__(self, name: str) -> TensorInfo:
        if self._infos is not None:
            return self._infos[name]
        if self._positions is None:
            self._positions = {name: at for at, name in enumerate(self.names)}
        return self.info(self._positions[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def items(self) -> ItemsView[str, TensorInfo]:
        return self._all().items()

    def values(self) -> ValuesView[TensorInfo]:
        return self._all().values()

    def each(self) -> Iterator[TensorInfo]:
        """The tensors one by one, made for whoever asks, and not kept."""
        sources = chain.from_iterable(repeat(source, end - start) for source, start, end in self._runs())
        extents = map(tuples.made, repeat(Extent), zip(sources, self._offsets, self._sizes, strict=True))
        none = repeat(None)
        columns = (self.names, self.dtypes, self.shapes, extents, none, none, repeat(False), repeat("cpu"))
        return map(tuples.made, repeat(TensorInfo), zip(*columns, repeat(PLAIN)))

    def _all(self) -> dict[str, TensorInfo]:
        if self._infos is None:
            self._infos = dict(zip(self.names, self.each(), strict=True))
            self._infos |= {self.names[at]: info for at, info in self._made.items()}
            self._made, self._positions = {}, None
        return self._infos
