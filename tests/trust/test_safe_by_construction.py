"""`open` runs nothing of a file, imports nothing for it, writes nothing, asks nobody: Python's audit events say so.

Every file is opened twice in a process of its own. In the first round, whatever harms is a fault. In the second,
when all that statedict loads on use is loaded, so is every import and every compiled or executed piece of code.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpus.files import corpus
from tests.sample_checkpoints import write_all

PROGRAM = """
import sys

HARMS = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "winreg.", "marshal.", "pickle.find_class", "tempfile.",
         "urllib.", "http.", "ftplib.", "smtplib.", "imaplib.", "sqlite3.", "webbrowser.", "pty.", "fcntl.",
         "resource.",
         "syslog.", "signal.", "mmap.", "code.__new__", "function.__new__", "cpython.run_", "gc.")
HARMLESS = {"os.scandir", "os.listdir", "os.add_dll_directory"}
LOADING = {"marshal.loads", "code.__new__", "function.__new__"}
CODE = {"import", "exec", "compile"}
state = {"strict": False, "watching": False}
seen = []

def hook(event, args):
    if not state["watching"]:
        return
    if event == "open":
        path, mode, flags = args
        if isinstance(flags, int) and flags & 3:
            seen.append((event, args))
    elif event == "compile" and args[0] is not None and args[1] == "<unknown>":
        pass  # ast.literal_eval, which makes a tree of text and runs nothing
    elif event.startswith(HARMS) and event not in HARMLESS:
        if state["strict"] or event not in LOADING:
            seen.append((event, args))
    elif state["strict"] and event in CODE:
        seen.append((event, args))

import ml_dtypes, numpy  # which set up their own libraries as they are loaded
import statedict
sys.addaudithook(hook)
from statedict.errors import StatedictError

def opened(name):
    try:
        model = statedict.open(name)
    except StatedictError:
        return
    repr(model)
    for _, tensor in list(model.named_parameters())[:2] + list(model.named_buffers())[:2]:
        try:
            tensor.numpy()
        except (StatedictError, TypeError, ValueError):
            pass

for strict in (False, True):
    state["strict"] = strict
    for name in sys.argv[1:]:
        state["watching"] = True
        opened(name)
        if seen:
            sys.exit(f"{name} ({'second' if strict else 'first'} round): {seen[:3]}")
    state["watching"] = False
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited")
    write_all(folder)
    for each in corpus():
        each.build(folder)
    return folder


def audited(program: str, names: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", program, *names]
    return subprocess.run(
        command, cwd=folder, env=environment, timeout=300, check=False, text=True, capture_output=True
    )


@pytest.mark.slow
def test_opening_does_nothing_else(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    before = {path.name for path in folder.iterdir()}
    done = audited(PROGRAM, names, folder)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == before


def test_the_audit_sees_what_it_looks_for(folder: Path) -> None:
    """The same program over a reader that is not safe: `pickle.load`."""
    load = "import pickle; pickle.loads(b'cos\\nsystem\\n(S\\'true\\'\\ntR.'); return"
    done = audited(PROGRAM.replace("model = statedict.open(name)", load), ["net.pt"], folder)
    assert done.returncode == 1
    assert "pickle.find_class" in done.stderr or "os.system" in done.stderr
