"""Manifests: written and read back the same, and every damage named."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import statedict
from statedict.errors import FormatError, ReadError
from statedict.manifest import read_manifest, write_manifest
from statedict.ops.fingerprint import Fingerprint, fingerprint


@pytest.fixture
def found() -> Fingerprint:
    held = {"a": torch.ones(2, 3), "s": torch.tensor(1), "m": torch.ones(1, device="meta"), "ü\n": torch.ones(1)}
    return fingerprint(statedict.open(held))


def test_a_manifest_is_read_as_it_was_written(found: Fingerprint, tmp_path: Path) -> None:
    write_manifest(found, tmp_path / "m.json")
    again = read_manifest(tmp_path / "m.json")
    assert again == found
    assert again.prints == found.prints
    assert len((tmp_path / "m.json").read_text().splitlines()) == len(found.prints) + 2


def test_nothing_is_a_manifest_too(tmp_path: Path) -> None:
    empty = fingerprint(statedict.open({}))
    write_manifest(empty, tmp_path / "m.json")
    assert read_manifest(tmp_path / "m.json") == empty


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda held: held.pop("statedict_manifest"), "is no manifest"),
        (lambda held: held.update(statedict_manifest=2), "another version"),
        (lambda held: held.update(algorithm="md5"), "names no known hash"),
        (lambda held: held.update(algorithm=["md5"]), "names no known hash"),
        (lambda held: held.update(tensors={}), "or no tensors"),
        (lambda held: held["tensors"].append(3), "a line of it is no tensor: 3"),
        (lambda held: held["tensors"][0].update(name=3), "a line of it is no tensor"),
        (lambda held: held["tensors"][0].update(digest=3), "a line of it is no tensor"),
        (lambda held: held["tensors"][0].update(shape=[True]), "a line of it is no tensor"),
        (lambda held: held["tensors"].pop(), "its lines do not give the digest"),
        (lambda held: held.pop("model"), "its lines do not give the digest"),
    ],
)
def test_damage_is_named(damage: Any, said: str, found: Fingerprint, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_manifest(found, path)
    held = json.loads(path.read_text())
    damage(held)
    path.write_text(json.dumps(held))
    with pytest.raises(FormatError, match=f"^{re.escape(str(path))}: .*{re.escape(said)}"):
        read_manifest(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{" * 100_000, '{"a": ' * 100_000, "\xff", '{"x": "\ud800"}'])
def test_what_is_no_manifest(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(FormatError, match="is no manifest"):
        read_manifest(tmp_path / "m.json")
    with pytest.raises(ReadError):
        read_manifest(tmp_path / "none.json")
