"""What a stranger gets: what is built has all it needs and nothing else, and works in an environment with no more.

`make smoke` does the same with every extra and every Python; here are the small extras, and this Python.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests import smoke

ROOT = smoke.ROOT
SOURCE = ROOT / "src" / "statedict"
SMALL = ("gguf", "hash", "hdf5")
"""Extras that bring few megabytes."""


def copied(folder: Path) -> Path:
    """A copy of what is built from, without what was built."""
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    built = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so", "*.pyd")
    shutil.copytree(ROOT / "src", checkout / "src", ignore=built)
    return checkout


def run(*command: str | Path, **environment: str) -> str:
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=plain, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, the wheel that is built from it, and the pure wheel."""
    folder = tmp_path_factory.mktemp("built")
    checkout = copied(folder)
    build = (sys.executable, "-m", "build", "--outdir", folder / "dist")
    run(*build, checkout)
    run(*build, "--wheel", checkout, STATEDICT_PURE="1")
    return folder / "dist"


def only(dist: Path, pattern: str) -> Path:
    (found,) = dist.glob(pattern)
    return found


def wanted() -> set[str]:
    """What every installation has, relative to the folder `statedict`: all but what is compiled."""
    files = (path for path in SOURCE.rglob("*") if path.is_file() and path.suffix not in (".c", ".h", ".so", ".pyc"))
    return {str(path.relative_to(SOURCE)) for path in files}


def packed(wheel: Path) -> set[str]:
    """What a wheel has in its folder `statedict`."""
    names = zipfile.ZipFile(wheel).namelist()
    return {name.removeprefix("statedict/") for name in names if name.startswith("statedict/")}


@pytest.mark.slow
def test_a_pure_wheel_has_everything_but_the_c_code(dist: Path) -> None:
    assert packed(only(dist, "statedict-*-py3-none-any.whl")) == wanted()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler is here")
def test_a_wheel_of_the_sdist_has_the_c_code_for_every_python(dist: Path) -> None:
    found = packed(only(dist, "statedict-*-cp311-abi3-*.whl"))
    assert wanted() < found
    assert sorted(name.partition(".")[0] for name in found - wanted()) == ["_accelerated", "_headers"]
    assert all(".abi3." in name for name in found - wanted())


@pytest.mark.slow
def test_the_sdist_has_what_it_is_built_from(dist: Path) -> None:
    with tarfile.open(only(dist, "*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    c = {str(path.relative_to(ROOT)) for path in SOURCE.glob("*.[ch]")}
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", *c} <= names
    assert {f"src/statedict/{name}" for name in wanted()} <= names


@pytest.mark.slow
def test_a_bare_installation_is_enough(dist: Path) -> None:
    assert smoke.tried(sys.executable, only(dist, "*-none-any.whl")).endswith(" (numpy)")
    said = smoke.tried(sys.executable, only(dist, "*.tar.gz"))
    assert (" (C accelerator: " in said) == (shutil.which("cc") is not None)


@pytest.mark.slow
@pytest.mark.parametrize("extra", SMALL)
def test_an_extra_alone_is_enough_for_what_it_is_for(extra: str, dist: Path) -> None:
    assert f" {extra}: statedict " in smoke.tried(sys.executable, only(dist, "*-none-any.whl"), extra)


def test_every_extra_is_tried() -> None:
    assert set(smoke.CHECKS) == set(smoke.extras())
    assert set(SMALL) < set(smoke.CHECKS)
    assert "torch==2.13.0" in smoke.pins()


@pytest.mark.slow
def test_without_a_compiler_the_installation_goes_on_without_a_word(tmp_path: Path) -> None:
    """`CC=false` is a compiler that fails at everything."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps")
    assert run(*pip, "--wheel-dir", tmp_path, copied(tmp_path), CC="false") == ""
    assert packed(only(tmp_path, "*.whl")) == wanted()
