"""Files against the digests that somebody wrote down: lists as `sha256sum` writes them."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from statedict.errors import FormatError
from statedict.index import shown
from statedict.ops.check.finding import Finding
from statedict.ops.check.integrity.checksums import NAME
from statedict.source import FileSource

_LINE = re.compile(r"\\?(?P<digest>[0-9a-fA-F]{32,128})[ \t]+\*?(?P<name>.+)")
_KINDS = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
_BLOCK = 1 << 20
_OTHER = "it is another file than the one whose digest was written down: fetch it again, from where you trust"


def listed(text: str, where: str) -> dict[str, str]:
    """The digests of a list, by file. Raises FormatError for what is no such list."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        entry = _LINE.fullmatch(line.strip())
        if entry is None or len(entry["digest"]) not in _KINDS:
            raise FormatError(
                f"{where}: line {number} is no digest and name, as `sha256sum` writes them: {shown(line)}"
            )
        found[entry["name"]] = entry["digest"].lower()
    return found


def digest_findings(folder: Path, digests: dict[str, str]) -> Iterator[Finding]:
    """Files of a folder that are not what the digests say, or are missing."""
    for name, digest in digests.items():
        path = folder / name
        where = os.fspath(path)
        if not path.is_file():
            yield Finding(NAME, where, "error", "is listed, but is not there", "fetch it", {"kind": "digest"})
            continue
        found = file_digest(FileSource(path), _KINDS[len(digest)])
        if found != digest:
            what = f"has the {_KINDS[len(digest)]} {found[:16]}…, but {digest[:16]}… is listed"
            yield Finding(NAME, where, "error", what, _OTHER, {"kind": "digest", "found": found, "listed": digest})


def file_digest(source: FileSource, algorithm: str) -> str:
    """The digest of a file's bytes, in hexadecimal."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for at in range(0, source.size, _BLOCK):
        digest.update(source.read_at(at, min(_BLOCK, source.size - at)))
    return digest.hexdigest()
