"""Zip and tar archives that mislead, around a pickle that would run something; and those that are only broken."""

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

from tests.corpus.opcodes import SYSTEM, SYSTEM_OLD, pickled

EVIL = pickled(SYSTEM_OLD, 2)
GOOD = pickled(b"}", 2)


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def torch_zip(pickle: bytes = EVIL, name: str = "archive/data.pkl", method: int = zipfile.ZIP_STORED) -> bytes:
    """What `torch.save` writes, in little."""
    return zipped((name, pickle), ("archive/version", b"3\n"), ("archive/data/0", b"\0" * 64), method=method)


def patched(data: bytes, signature: bytes, offset: int, new: bytes, *, number: int = 0) -> bytes:
    """The archive with other bytes at an offset in its n-th record of that signature."""
    at = -1
    for _ in range(number + 1):
        at = data.index(signature, at + 1)
    at += offset
    return data[:at] + new + data[at + len(new) :]


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def _flag(bit: int) -> Callable[[], bytes]:
    def build() -> bytes:
        data = torch_zip()
        return patched(patched(data, CENTRAL, 8, struct.pack("<H", bit)), LOCAL, 6, struct.pack("<H", bit))

    return build


def _local_flag() -> bytes:
    return patched(torch_zip(), LOCAL, 6, struct.pack("<H", 1))


def _local_name() -> bytes:
    return patched(torch_zip(), LOCAL, 30, b"archive/harm.pkl")


def _crc() -> bytes:
    return patched(patched(torch_zip(), CENTRAL, 16, b"\xef\xbe\xad\xde"), LOCAL, 14, b"\xef\xbe\xad\xde")


def _corrupt_first() -> bytes:
    """A member that raises in Python's zipfile, before the one that counts (modelscan #354)."""
    data = zipped(("archive/aaa", b"x"), ("archive/data.pkl", EVIL), ("archive/version", b"3\n"))
    return patched(data, LOCAL, 0, b"PK\x03\x05")


def _hidden() -> bytes:
    """A member that stands in no directory, between those that do."""
    data = torch_zip(GOOD)
    extra = zipped(("archive/data.pkl", EVIL))
    local = extra[: extra.index(CENTRAL)]
    at = data.index(CENTRAL)
    moved = data[:at] + local + data[at:]
    return patched(moved, END, 16, struct.pack("<L", at + len(local)))


def _two_directories() -> bytes:
    """One archive behind another: the first record or the last one tells what is in it."""
    return torch_zip(EVIL) + torch_zip(GOOD)


def _two_names() -> bytes:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zipped(("archive/data.pkl", EVIL), ("archive/data.pkl", GOOD), ("archive/version", b"3\n"))


def _method(central: int, local: int) -> bytes:
    data = torch_zip(method=zipfile.ZIP_DEFLATED)
    return patched(patched(data, CENTRAL, 10, struct.pack("<H", central)), LOCAL, 8, struct.pack("<H", local))


def _appended() -> bytes:
    """A pickle that loaders run, and a zip archive that scanners see."""
    return EVIL + torch_zip(GOOD)


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in (("pickle", EVIL), ("storages", GOOD), ("tensors", GOOD)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _tar_link() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("../../etc/passwd")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
        info = tarfile.TarInfo("pickle")
        archive.addfile(info, io.BytesIO())
    return file.getvalue()


def _legacy(magic: bytes) -> bytes:
    """PyTorch's older format: five pickles in a row."""
    protocol = pickled(b"M\xe9\x03", 2)
    return pickled(magic, 2) + protocol + pickled(b"}", 2) + EVIL + pickled(b"]", 2) + struct.pack("<Q", 0)


_MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"


def _absolute() -> bytes:
    return zipped(("archive/data.pkl", GOOD), ("/etc/cron.d/x", b"x"), ("../../x", b"x"), ("archive/version", b"3\n"))


def _link() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", GOOD)
        info = zipfile.ZipInfo("archive/data/0")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return file.getvalue()


def _bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", GOOD)
        packed = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = packed.compress(bytes(32 << 20)) + packed.flush()
        info = zipfile.ZipInfo("archive/data/0")
        archive.writestr(info, body)
    data = file.getvalue()
    huge = struct.pack("<L", 0x7FFFFFFF)
    data = patched(patched(data, CENTRAL, 24, huge, number=1), LOCAL, 22, huge, number=1)
    data = patched(data, CENTRAL, 10, struct.pack("<H", 8), number=1)
    return patched(data, LOCAL, 8, struct.pack("<H", 8), number=1)


def _overlap() -> bytes:
    """Two members with one header: each byte counts twice."""
    data = zipped(("a/data.pkl", GOOD), ("a/data/00", b"x" * 100))
    at = data.index(b"a/data/00", data.index(CENTRAL)) - 46
    return data[: at + 42] + struct.pack("<L", 0) + data[at + 46 :]


def _trailing() -> bytes:
    return torch_zip(GOOD) + b"\x7fELF" + b"hidden" * 100


def _prefixed() -> bytes:
    return b"#!/bin/sh\ntouch statedict-was-here\nexit\n" + torch_zip(GOOD)


def _zip64() -> bytes:
    """A ZIP64 record that says otherwise than the short one."""
    data = torch_zip(GOOD)
    at = data.index(END)
    count, size, offset = struct.unpack_from("<HLL", data, at + 10)
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    end = bytearray(data[at:])
    struct.pack_into("<HH", end, 8, 1, 1)
    return data[:at] + wide + locator + bytes(end)


CODE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a zip as torch.save writes it": (".pt", torch_zip, "picklescan, from the first"),
    "a pickle of another name": (".pt", lambda: torch_zip(name="archive/data.weights"), "CVE-2025-1889, GHSA-769v-p64c-89pr"),
    "a pickle named as a text": (".zip", lambda: zipped(("readme.txt", EVIL)), "CVE-2025-1889, GHSA-769v-p64c-89pr"),
    "a pickle without a protocol named as a tensor": (".pt", lambda: zipped(("archive/data.pkl", GOOD), ("archive/data/0", SYSTEM_OLD + b"."), ("archive/version", b"3\n")), "modelaudit #1654"),
    "the flag 0x1": (".pt", _flag(0x1), "CVE-2025-1945, GHSA-w8jq-xcqf-f792"),
    "the flag 0x20": (".pt", _flag(0x20), "CVE-2025-1945, GHSA-w8jq-xcqf-f792"),
    "the flag 0x40": (".pt", _flag(0x40), "CVE-2025-1945, GHSA-w8jq-xcqf-f792"),
    "the flag 0x1 of its own header alone": (".pt", _local_flag, "CVE-2025-1945, GHSA-w8jq-xcqf-f792"),
    "another name in its own header": (".pt", _local_name, "CVE-2025-1944, GHSA-7q5r-7gvp-wc82"),
    "a checksum that is wrong": (".pt", _crc, "CVE-2025-10156, GHSA-mjqp-26hc-grxg"),
    "behind a member that is corrupt": (".pt", _corrupt_first, "modelscan #354"),
    "in no directory": (".pt", _hidden, "readers that walk the members"),
    "in the first of two archives": (".pt", _two_directories, "readers that take the first directory"),
    "under a name that stands twice": (".pt", _two_names, "modelscan #338"),
    "deflated": (".pt", lambda: torch_zip(method=zipfile.ZIP_DEFLATED), "picklescan, from the first"),
    "compressed by bzip2": (".pt", lambda: torch_zip(method=zipfile.ZIP_BZIP2), "Python's zipfile reads it"),
    "stored by the directory, deflated by its own header": (".pt", lambda: _method(0, 8), "APPNOTE: two places for one fact"),
    "deflated by the directory, stored by its own header": (".pt", lambda: _method(8, 0), "APPNOTE: two places for one fact"),
    "a pickle with a zip behind it": (".pt", _appended, "GHSA of fickling's polyglots"),
    "a zip in a zip": (".zip", lambda: zipped(("inner.zip", torch_zip())), "modelscan #338"),
    "a zip in a zip of another name": (".pt", lambda: zipped(("archive/data.pkl", GOOD), ("archive/data/0", torch_zip())), "modelscan #338"),
    "gzip": (".pkl", lambda: gzip.compress(EVIL, mtime=0), "joblib"),
    "xz": (".pkl", lambda: lzma.compress(EVIL), "joblib"),
    "tar": (".pt", _tar, "PyTorch 0.1; picklescan's TODO"),
    "a tar in gzip": (".tar.gz", lambda: gzip.compress(_tar(), mtime=0), "modelscan #338"),
    "PyTorch before 1.6": (".pt", lambda: _legacy(_MAGIC), "picklescan, from the first"),
    "PyTorch before 1.6, its magic number computed": (".pt", lambda: _legacy(b"cbuiltins\neval\n(S'0x1950a86a20f9469cfc6c'\ntR"), "picklescan, pytorch_magic_bypass"),
    "of the wrong suffix": (".bin", lambda: EVIL, "CVE-2025-10155, GHSA-jgw4-cr84-mqxg"),
    "of no suffix": ("", lambda: EVIL, "CVE-2025-10155"),
    "of the suffix of pictures": (".png", lambda: pickled(SYSTEM), "CVE-2025-10155"),
    "of the suffix of safetensors": (".safetensors", lambda: EVIL, "CVE-2025-10155"),
    "7z": (".pt", lambda: b"7z\xbc\xaf\x27\x1c\0\4" + bytes(64), "nullifAI"),
}  # fmt: skip
BROKEN: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "zip paths that lead out": (".pt", _absolute, "zip slip"),
    "a zip with a link": (".pt", _link, "zip slip"),
    "a zip bomb": (".pt", _bomb, "APPNOTE"),
    "members that overlap": (".pt", _overlap, "a better zip bomb, WOOT 2019"),
    "bytes behind a zip": (".pt", _trailing, "polyglots"),
    "bytes before a zip": (".pt", _prefixed, "polyglots"),
    "a ZIP64 record that lies": (".pt", _zip64, "APPNOTE"),
    "a tar with a link": (".tar", _tar_link, "CVE-2007-4559"),
    "a zip that is cut": (".pt", lambda: torch_zip(GOOD)[:-30], "a download that broke off"),
    "a zip with damaged bytes": (".pt", lambda: patched(torch_zip(GOOD), b"3\n", 0, b"4\n"), "a disk that fails"),
}
