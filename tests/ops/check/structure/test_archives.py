"""Archives whose parts contradict each other: each oddity by its kind, and none in what libraries write."""

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import torch

from statedict.limits import DEFAULT_LIMITS
from statedict.ops.check.structure.archives import tar_oddities, zip_oddities
from statedict.source import BytesSource
from tests.corpus import archives
from tests.corpus.archives import GOOD, torch_zip, zipped


def kinds(data: bytes) -> set[str]:
    return {each.evidence["kind"] for each in zip_oddities(BytesSource(data), "x.pt", DEFAULT_LIMITS)}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (archives.BROKEN["zip paths that lead out"][1], "path"),
        (archives.BROKEN["a zip with a link"][1], "link"),
        (archives.BROKEN["a zip bomb"][1], "bomb"),
        (archives.BROKEN["members that overlap"][1], "overlap"),
        (archives.BROKEN["bytes behind a zip"][1], "trailing"),
        (archives.BROKEN["bytes before a zip"][1], "polyglot"),
        (archives.BROKEN["a ZIP64 record that lies"][1], "zip64"),
        (archives.CODE["the flag 0x1"][1], "encrypted"),
        (archives.CODE["the flag 0x20"][1], "flags"),
        (archives.CODE["the flag 0x1 of its own header alone"][1], "encrypted"),
        (archives.CODE["another name in its own header"][1], "names"),
        (archives.CODE["behind a member that is corrupt"][1], "missing"),
        (archives.CODE["in no directory"][1], "hidden"),
        (archives.CODE["in the first of two archives"][1], "directories"),
        (archives.CODE["under a name that stands twice"][1], "duplicate"),
        (archives.CODE["stored by the directory, deflated by its own header"][1], "methods"),
        (archives.CODE["a pickle with a zip behind it"][1], "polyglot"),
        (lambda: zipped(("a/data.pkl", GOOD), ("b/data.pkl", GOOD)), "pickles"),
        (lambda: zipped(("a/data.pkl", GOOD), ("a\\x", b"")), "path"),
        (lambda: zipped(("a/data.pkl", GOOD), ("a/\x1b[2J", b"")), "name"),
        (lambda: archives.patched(torch_zip(GOOD), archives.LOCAL, 14, b"\1\2\3\4"), "checksums"),
        (lambda: archives.patched(torch_zip(GOOD), archives.LOCAL, 18, struct.pack("<L", 7)), "sizes"),
    ],
)
def test_each_is_told(data: Callable[[], bytes], kind: str) -> None:
    assert kind in kinds(data())


def _torch(zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(torch.nn.Linear(3, 3).state_dict(), file)
    return file.getvalue()


def _zip(method: int, stream: bool = False) -> bytes:
    file = io.BytesIO()
    target = _Stream(file) if stream else file
    with zipfile.ZipFile(target, "w", method) as archive:  # type: ignore[arg-type]
        archive.writestr("a/data.pkl", GOOD)
        archive.writestr("a/version", b"3\n" * 100)
    return file.getvalue()


class _Stream(io.RawIOBase):
    """A file that cannot be sought in, so that sizes stand behind the members."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        return self._file.write(data)


def _npz(save: Callable[..., None]) -> bytes:
    file = io.BytesIO()
    save(file, a=np.ones(300), b=np.arange(3))
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        _torch,
        lambda: _zip(zipfile.ZIP_STORED),
        lambda: _zip(zipfile.ZIP_DEFLATED),
        lambda: _zip(zipfile.ZIP_DEFLATED, stream=True),
        lambda: _zip(zipfile.ZIP_STORED, stream=True),
        lambda: _npz(np.savez),
        lambda: _npz(np.savez_compressed),
        lambda: zipped(("inner.zip", torch_zip(GOOD)), ("a/data.pkl", GOOD)),
        lambda: zipped(("a/data.pkl", GOOD), ("inner.zip", torch_zip(GOOD))),
        lambda: b"no archive",
    ],
)
def test_nothing_is_told_of_what_libraries_write(data: Callable[[], bytes]) -> None:
    assert kinds(data()) == set()


def test_tar() -> None:
    found = {
        each.evidence["kind"]
        for each in tar_oddities(BytesSource(archives.BROKEN["a tar with a link"][1]()), "x", DEFAULT_LIMITS)
    }
    assert found == {"path", "link"}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("a/" + "x" * 150, "b"):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    assert list(tar_oddities(BytesSource(file.getvalue()), "x", DEFAULT_LIMITS)) == []
