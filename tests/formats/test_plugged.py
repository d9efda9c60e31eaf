"""Formats of other packages: found by their entry points, asked last, listed with the others."""

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import statedict as sd
from statedict import formats
from statedict.formats._plugged import LIBRARIES, is_installed
from tests.commands import run

READER = '''
"""Names and lengths, one a line, then bytes: the format of this test."""

from statedict.dtypes import DTYPES
from statedict.index import Index, TensorInfo
from statedict.source import Extent

SUFFIXES = (".own",)


def sniff(head, source):
    return head.startswith(b"OWN")


def read(source, limits):
    tensors = {"w": TensorInfo("w", DTYPES["uint8"], (3,), Extent(source, 3, 3))}
    return Index("own", source, tensors).validate(limits)
'''
ROW = """
from statedict.formats import Format

FORMAT = Format("own row", "own_reader", ((0, b"OWN"),), (".own",), "a row of its own")
"""

Plug = Callable[[str], None]


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plug:
    """A function that installs a package whose entry points are the lines given."""

    def install(lines: str) -> None:
        (tmp_path / "own_reader.py").write_text(READER)
        (tmp_path / "own_row.py").write_text(ROW)
        about = tmp_path / "own_format-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own-format\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[statedict.formats]\n{lines}\n")
        monkeypatch.syspath_prepend(tmp_path)

    for name in ("own_reader", "own_row"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return install


@pytest.mark.parametrize(("line", "name"), [("own = own_reader", "own"), ("x = own_row:FORMAT", "own row")])
def test_a_plugged_format_is_read(line: str, name: str, plug: Plug, tmp_path: Path) -> None:
    (tmp_path / "file.own").write_bytes(b"OWNabc")
    with pytest.raises(sd.UnknownFormatError):
        sd.open(tmp_path / "file.own")
    plug(line)
    for format in (None, name):
        assert sd.open(tmp_path / "file.own", format=format).w.numpy().tobytes() == b"abc"
    assert run("tree", str(tmp_path / "file.own")).code == 0
    with pytest.raises(sd.UnknownFormatError, match=rf'expected one of "safetensors",.*, "{name}"'):
        sd.open(tmp_path / "file.own", format="other")


def test_it_is_listed(plug: Plug) -> None:
    plug("own = own_reader")
    listed = {entry["name"]: entry for entry in json.loads(run("formats", "--json").out)["formats"]}
    assert list(listed)[:-1] == [entry.name for entry in formats.FORMATS]
    assert listed["own"]["plugged_in"] == "own_reader"
    assert listed["own"]["about"] == "Names and lengths, one a line, then bytes: the format of this test."
    assert "plugged in: own_reader" in run("formats").out


def test_a_format_of_ours_is_never_asked_of_another(plug: Plug, tmp_path: Path) -> None:
    """A file of a built-in format opens without a look at the plug-ins, which may be broken."""
    plug("broken = nowhere_to_be_found")
    np.save(tmp_path / "file.npy", np.zeros(3))
    assert sd.open(tmp_path / "file.npy")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("broken = nowhere_to_be_found", "`broken`.*cannot be loaded: No module named"),
        ("broken = own_reader:nothing", "`broken`.*cannot be loaded: .*nothing"),
        ("broken = json", "is neither a `Format` nor a module with `sniff` and `read`"),
    ],
)
def test_a_broken_one_is_named(line: str, text: str, plug: Plug, tmp_path: Path) -> None:
    plug(line)
    (tmp_path / "file.own").write_bytes(b"OWNabc")
    with pytest.raises(sd.StatedictError, match=text):
        sd.open(tmp_path / "file.own")
    ran = run("formats")
    assert (ran.code, ran.out) == (2, "")


def test_extras_are_told_from_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def listed() -> dict[str, bool]:
        return {entry["name"]: entry["installed"] for entry in json.loads(run("formats", "--json").out)["formats"]}

    assert is_installed("gguf")
    assert listed()["gguf"]
    monkeypatch.setitem(LIBRARIES, "gguf", "no_library_of_this_name")
    assert not is_installed("gguf")
    assert {name for name, there in listed().items() if not there} == {"gguf"}


def test_every_extra_of_a_format_is_one_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = {entry.extra for entry in formats.FORMATS if entry.extra}
    assert extras == set(LIBRARIES)
    for extra in extras:
        (needed,) = project["optional-dependencies"][extra]
        assert needed.partition(">")[0] == LIBRARIES[extra]
