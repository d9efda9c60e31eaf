"""Every hostile file is found, by the library as by the command; none is executed, and none does away with either."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from statedict.checking import check
from tests.commands import run
from tests.corpus.files import Hostile, corpus

CANNOT_BE_LOOKED_INTO = {"7z", "an ONNX operator that nobody knows"}
"""What is told as unknown: nobody can tell what it does."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.mark.parametrize("hostile", corpus(), ids=lambda each: each.file)
def test_it_is_found(hostile: Hostile, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    report = check(str(hostile.build(folder)), only=("code", "structure", "integrity", "readable"))
    assert report.at_least("warning")
    if hostile.kind == "code":
        assert report.grade == ("unknown" if hostile.name in CANNOT_BE_LOOKED_INTO else "dangerous")
        assert any(each.check == "code" for each in report.findings)
    assert not (folder / "statedict-was-here").exists()


def test_all_of_them_in_a_folder(folder: Path) -> None:
    for each in corpus():
        each.build(folder)
    ran = run("check", str(folder), "--only", "code")
    assert ran.code == 1
    assert f"code dangerous, {len(list(folder.iterdir())):,} files checked" in ran.out
    assert "\x1b" not in ran.out


PROGRAM = """
import sys
import ast, bz2, json, lzma, tomllib, zlib
import encodings.latin_1, encodings.raw_unicode_escape, encodings.unicode_escape, encodings.cp437
from statedict.checking import check
from statedict.errors import StatedictError
import statedict.ops.check.code.names as names
names.lists()
for name in sys.argv[1:]:   # whatever is loaded on use is loaded by the first round
    try:
        check(name, only=["code", "structure", "integrity", "readable"])
    except StatedictError:
        pass
seen = []
def hook(event, args):
    if event in ("import", "exec", "marshal.loads", "pickle.find_class", "os.system", "subprocess.Popen", "os.exec",
                 "os.posix_spawn", "os.fork", "socket.connect", "socket.bind", "socket.__new__", "ctypes.dlopen",
                 "os.remove", "os.rename", "os.mkdir", "os.chmod", "code.__new__"):
        seen.append((event, args))
    elif event == "open" and (not isinstance(args[2], int) or args[2] & 0o3):
        seen.append((event, args))
    elif event == "compile" and args[1] != "<unknown>":
        seen.append((event, args))
sys.addaudithook(hook)
for name in sys.argv[1:]:
    try:
        check(name, only=["code", "structure", "integrity", "readable"])
    except StatedictError:
        pass
    if seen:
        sys.exit(f"{name}: {seen[:3]}")
"""


@pytest.mark.slow
def test_nothing_is_run_while_it_is_looked_for(folder: Path) -> None:
    names = [each.build(folder).name for each in corpus()]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    subprocess.run([sys.executable, "-c", PROGRAM, *names], check=True, cwd=folder, env=environment, timeout=300)
    assert not (folder / "statedict-was-here").exists()
