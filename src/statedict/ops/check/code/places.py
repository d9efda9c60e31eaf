"""Where code can hide in a file: one walk over it and everything in it, told by the bytes and not by the names."""

import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from statedict.composed import PartSource
from statedict.errors import FormatError, LimitError, StatedictError
from statedict.formats import npy
from statedict.formats._stored import StoredTensor
from statedict.index import shown
from statedict.limits import Limits
from statedict.ops.check import tars, zips
from statedict.ops.check.code import models, pickles, texts
from statedict.ops.check.code.act import Act, Grade, worst
from statedict.ops.check.code.texts import Texts
from statedict.ops.check.unpacked import CLOSED, Room, stream
from statedict.source import Extent, Source

_NPY = b"\x93NUMPY"
_HEAD = 512
_NATIVE = (
    (b"\x7fELF", "a program or library for Linux"),
    (b"MZ", "a program or library for Windows"),
    (b"\xcf\xfa\xed\xfe", "a program or library for macOS"),
    (b"\xca\xfe\xba\xbe\0\0\0", "a program or library for macOS"),
    (b"!<arch>\n", "a native library"),
)
_PICKLE_NAMES = re.compile(r"\.(pkl|pickle|p|pk|joblib|dill|ckpt|pt|pth|bin|dat|data|sav|model)$", re.IGNORECASE)
_MOST_MEMBERS_GUESSED = 1 << 20
_MOST_ACTS = 10_000
"""Of each grade, so that nothing dangerous is left out for what is not."""
_OPERATIONS = 2_000_000
"""Of all pickles in a file together, or two for each byte of it."""
_LOOKS = 16 << 20
_LEAST_LOOK = 512
"""Bytes that a member costs at least, however short it is."""


@dataclass
class Code:
    """What was found in a file, and where it was looked for."""

    acts: list[Act] = field(default_factory=list[Act])
    pickles: int = 0
    imports: int = 0

    @property
    def grade(self) -> Grade:
        """The worst of all grades."""
        return worst([act.grade for act in self.acts])


class _Place(NamedTuple):
    """Something to look into."""

    source: Source
    where: str
    """What a person calls it: the file, and what in it."""
    name: str
    """What it is called: a file's or a member's name; "" where it has none."""
    depth: int
    head: bytes = b""
    """Its first bytes, read once for all."""


def look(source: Source, limits: Limits, where: str = "", name: str = "") -> Code:
    """Everything that loading the file would run, with grades. Raises ReadError where it cannot be read."""
    return _Walk(limits).look(_Place(source, where or source.name, name or source.name, 0))


class _Walk:
    """What was found so far."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._code = Code()
        self._room = self._looks = Room(0, limits)
        self._texts = Texts(0)
        self._operations = 0
        self._graded: Counter[Grade] = Counter()

    def look(self, place: _Place) -> Code:
        size = place.source.size
        self._room, self._looks = Room(size, self._limits), Room(size, self._limits, _LOOKS)
        self._texts = Texts(size)
        self._operations = max(_OPERATIONS, 2 * size)
        self._into(place)
        self._code.acts.sort(key=lambda act: -("safe", "unknown", "dangerous").index(act.grade))
        return self._code

    def _tell(self, grade: Grade, where: str, reason: str) -> None:
        self._add([Act(grade, where, "", reason)])

    def _add(self, acts: list[Act]) -> None:
        for act in acts:
            self._graded[act.grade] += 1
            if self._graded[act.grade] <= _MOST_ACTS:
                self._code.acts.append(act)

    def _into(self, place: _Place) -> None:
        """Look into one file or member, as everything that it may be taken for."""
        if place.depth > self._limits.nested:
            reason = f"lies deeper than `Limits.nested` ({self._limits.nested}) allows to look"
            self._tell("unknown", place.where, reason)
            return
        place = place._replace(head=place.source.head(_HEAD))
        for looking in _LOOKING:
            try:
                looking(self, place)
            except LimitError as error:
                self._tell("dangerous", place.where, _said(error, place))
            except FormatError as error:
                reason = f"cannot be looked into to its end: {_said(error, place)}"
                self._tell("unknown", place.where, reason)

    # Containers

    def zip(self, place: _Place) -> None:
        if not zips.is_zip(place.source):
            return
        archive = zips.read(place.source, self._limits)
        if archive.unread:
            self._tell("unknown", place.where, archive.unread)
        for entry in (*archive.entries, *archive.hidden):
            where = f"{place.where}: {shown(entry.name)}"
            header = archive.locals.get(entry.header, entry)
            if entry.name.endswith("/") and not entry.packed:
                continue
            for each in _spellings(entry, header):
                try:
                    member = zips.opened(place.source, each, header, self._limits, self._room)
                    self._looks.take(max(_LEAST_LOOK, min(member.size, entry.packed)), where)
                except LimitError as error:
                    self._tell("dangerous", where, _said(error, place))
                    if min(self._room.left, self._looks.left) < 0:
                        return
                    continue
                except FormatError as error:
                    self._tell("unknown", where, _said(error, place))
                    continue
                self._into(_Place(member, where, entry.name, place.depth + 1))
            if entry.flags & zips.ENCRYPTED and header.flags & zips.ENCRYPTED:
                self._tell("unknown", where, "may be encrypted, and then nobody can look into it")

    def tar(self, place: _Place) -> None:
        for member in tars.members(place.source, self._limits) if tars.begins(place.head) else ():
            part = PartSource(Extent(place.source, member.data, member.size), f"{place.where}: {shown(member.name)}")
            self._into(_Place(part, part.name, member.name, place.depth + 1))

    def stream(self, place: _Place) -> None:
        found = stream(place.source, place.head, self._limits, self._room)
        if found is not None:
            self._into(_Place(found[1], f"{place.where}: unpacked", place.name, place.depth + 1))

    def closed(self, place: _Place) -> None:
        head = place.head
        for begins, what in (*CLOSED, *_NATIVE):
            if head.startswith(begins) and (begins != b"MZ" or _is_program(place.source)):
                native = (begins, what) in _NATIVE
                reason = f"is {what}, " + ("which runs when it is loaded" if native else "which is not looked into")
                self._tell("unknown", place.where, reason)

    # Pickles

    def numpy(self, place: _Place) -> None:
        head = place.head
        if not head.startswith(_NPY) or len(head) < 12:
            return
        wide = head[6] > 1
        size = struct.unpack_from("<L" if wide else "<H", head, 8)[0]
        start = (12 if wide else 10) + size
        if start < place.source.size:
            described = place.source.read_at(10, min(size, 1 << 16))
            is_objects = b"O" in described.split(b"fortran_order")[0] or b"|O" in described
            self._pickles(place, start if is_objects else _array_end(place, self._limits, start), sure=is_objects)

    def pickle(self, place: _Place) -> None:
        head = place.head
        if head.startswith((_NPY, b"PK\x03\x04", b"GGUF")) or not pickles.may_be(head):
            return
        named = place.depth == 0 or bool(_PICKLE_NAMES.search(place.name)) or not place.name
        if pickles.begins(head) or place.source.size <= _MOST_MEMBERS_GUESSED or named:
            self._pickles(place, 0, sure=False)

    def _pickles(self, place: _Place, start: int, *, sure: bool) -> None:
        most = self._operations
        found = pickles.scan(place.source, place.where, self._limits, start, sure=sure, most=most)
        self._operations -= found.operations
        self._add(found.acts)
        self._code.pickles += found.pickles
        self._code.imports += found.imports
        for source, at in found.nested:
            self._looks.take(max(_LEAST_LOOK, source.size), place.where)
            self._into(_Place(source, f"{place.where}: bytes at {at:,}", "", place.depth + 1))

    # What other formats hold

    def texts(self, place: _Place) -> None:
        self._add(list(texts.acts(place.source, place.where, place.name, self._limits, self._texts)))

    def models(self, place: _Place) -> None:
        self._add(list(models.acts(place.source, place.head, place.where, place.name, self._limits, self._texts)))


_LOOKING: tuple[Callable[[_Walk, _Place], None], ...] = (
    _Walk.zip,
    _Walk.tar,
    _Walk.stream,
    _Walk.closed,
    _Walk.numpy,
    _Walk.pickle,
    _Walk.texts,
    _Walk.models,
)


def _array_end(place: _Place, limits: Limits, start: int) -> int:
    """Where the array ends that a .npy file begins with, as far as that can be told."""
    array = npy.array(place.source, limits, place.where)
    extent = array.storage.extent if isinstance(array, StoredTensor) and array.storage else None
    return start if extent is None else extent.offset + extent.size


def _spellings(entry: zips.Entry, header: zips.Entry) -> Iterator[zips.Entry]:
    """The ways in which readers may take a member's bytes: by the directory, and by its own header."""
    yield entry
    if header.method != entry.method or (header.packed > entry.packed and not header.flags & zips.DESCRIPTOR):
        yield entry._replace(method=header.method, packed=max(entry.packed, header.packed))


def _is_program(source: Source) -> bool:
    """Whether what begins with MZ has a program's second header, too."""
    head = source.head(64)
    if len(head) < 64:
        return False
    at = int.from_bytes(head[60:64], "little")
    return at + 4 <= source.size and source.read_at(at, 4) == b"PE\0\0"


def _said(error: StatedictError, place: _Place) -> str:
    """An error's text without the place, which is told apart."""
    text = str(error)
    for name in (place.where, place.source.name):
        text = text.removeprefix(str(StatedictError(f"{name}: ")))
    return text
