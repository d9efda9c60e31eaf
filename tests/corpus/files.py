"""The whole corpus, as files: what each would do, and where that was told."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from tests.corpus import archives, models
from tests.corpus.callables import CALLABLES
from tests.corpus.opcodes import call, name, pickled, value
from tests.corpus.streams import STREAMS


class Hostile(NamedTuple):
    """One file."""

    name: str
    kind: Literal["code", "broken"]
    """Whether loading it runs something, or it is laid out as nobody should believe."""
    suffix: str
    data: Callable[[], bytes]
    source: str
    """The advisory, the issue or the document that tells of it."""

    @property
    def file(self) -> str:
        return re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-") + self.suffix

    def build(self, folder: Path) -> Path:
        path = folder / self.file
        path.write_bytes(self.data())
        return path


def corpus() -> tuple[Hostile, ...]:
    """All of it."""
    return (*_callables(), *_streams(), *_tables())


def _callables() -> Iterator[Hostile]:
    for at, each in enumerate(CALLABLES):

        def data(each=each) -> bytes:  # type: ignore[no-untyped-def]
            return pickled(call(name(each.module, each.name), *map(value, each.args)))

        yield Hostile(f"{at:03} {each.module}.{each.name}", "code", ".pkl", data, each.source)


def _streams() -> Iterator[Hostile]:
    for title, (data, source) in STREAMS.items():
        yield Hostile(title, "code", ".pkl", data, source)


def _tables() -> Iterator[Hostile]:
    for kind, tables in (("code", (archives.CODE, models.CODE)), ("broken", (archives.BROKEN, models.BROKEN))):
        for table in tables:
            for title, (suffix, data, source) in table.items():
                yield Hostile(title, "code" if kind == "code" else "broken", suffix, data, source)


def build(folder: Path) -> dict[str, Hostile]:
    """Write every file into a folder; which is which, by the file's name."""
    return {each.build(folder).name: each for each in corpus()}
