"""axe-core (Deque Systems, MPL-2.0), which finds what on a page is not accessible: from npm, once, into the cache.

It is skipped where it cannot be fetched; under CI that is a failure.
"""

import base64
import hashlib
import os
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_VERSION = "4.10.3"
_SHA512 = "Xm7bpRXnDSX2YE2YFfBk2FnF0ep6tmG7xPh8iHee8MIcrgq762Nkce856dYtJYLkuIoYZvGfTs/PbZhideTcEg=="
_CACHE = Path(__file__).parent.parent / ".cache" / "npm"
_TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


@cache
def _source() -> str:
    """The script. Raises OSError where it cannot be had, ValueError where it is not what it was."""
    path = _CACHE / f"axe-core-{_VERSION}.tgz"
    if not path.is_file():
        _CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as folder:
            command = ["npm", "pack", f"axe-core@{_VERSION}", "--silent", "--pack-destination", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=folder)
            if done.returncode:
                raise OSError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "npm failed")
            (Path(folder) / path.name).replace(path)
    found = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if found != _SHA512:
        raise ValueError(f"{path}: has the digest sha512-{found}; expected sha512-{_SHA512}: remove it")
    with tarfile.open(path) as archive:
        held = archive.extractfile("package/axe.min.js")
        assert held is not None
        return held.read().decode()


def violations(page: Any) -> list[str]:
    """What axe finds wrong with a page as it is now, a line each: the rule, what is said, and where."""
    try:
        source = _source()
    except OSError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"axe-core cannot be fetched by npm: {error}")
        raise
    page.evaluate(source)
    found = page.evaluate("(tags) => axe.run(document, {runOnly: tags})", list(_TAGS))
    return [
        f"{each['id']}: {each['help']}: {', '.join(' '.join(map(str, node['target'])) for node in each['nodes'][:5])}"
        for each in found["violations"]
    ]
