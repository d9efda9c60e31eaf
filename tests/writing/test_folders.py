"""Folders: all files at once, beside those that are there, and whoever reads meanwhile finds one checkpoint whole."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import statedict
from statedict.errors import ReadError, StatedictError, WriteError
from statedict.plan import Plan
from statedict.source import Extent
from statedict.writing import folders, write_folder
from tests.writing.sources import Computed, temporaries
from tests.writing.test_files import Counted

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def shard(values: Mapping[str, int]) -> bytes:
    """A safetensors file of tensors of one byte each."""
    header = json.dumps(
        {name: {"dtype": "U8", "shape": [1], "data_offsets": [at, at + 1]} for at, name in enumerate(values)}
    ).encode()
    return len(header).to_bytes(8, "little") + header + bytes(values.values())


def sharded(version: int, *names: str) -> dict[str, Plan]:
    """The plans of a checkpoint of one tensor a shard, each of the value `version`."""
    files = {name: Plan((shard({f"t{number}": version}),)) for number, name in enumerate(names)}
    owners = {f"t{number}": name for number, name in enumerate(names)}
    return files | {INDEX: Plan((json.dumps({"weight_map": owners}).encode(),))}


def single(version: int, count: int = 2) -> dict[str, Plan]:
    return {SINGLE: Plan((shard({f"t{number}": version for number in range(count)}),))}


def version(folder: Path) -> set[int]:
    """The values of all tensors of the folder, as our reader finds them: one, where it is whole."""
    return {int(tensor.numpy()[0]) for tensor in statedict.open(folder).state_dict().values()}


def version_for_transformers(folder: Path) -> set[int]:
    """The same, as `transformers` looks: one file before an index."""
    if (folder / SINGLE).exists():
        return {int(value) for value in (folder / SINGLE).read_bytes()[-2:]}
    owners: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
    return {(folder / name).read_bytes()[-1] for name in owners.values()}


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))  # noqa: PTH208


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a checkpoint of two shards, and files that are none of ours."""
    path = tmp_path / "net"
    write_folder(sharded(1, "model-1.safetensors", "model-2.safetensors"), path)
    (path / "tokenizer.json").write_text("{}")
    (path / "sub").mkdir()
    return path


STRANGERS = ["sub", "tokenizer.json"]


def test_a_new_folder(tmp_path: Path) -> None:
    progress = Counted()
    plans = sharded(1, "a.safetensors", "b.safetensors")
    write_folder(plans, tmp_path / "net", progress=progress, verify=True)
    assert names(tmp_path) == ["net"]
    assert names(tmp_path / "net") == ["a.safetensors", "b.safetensors", INDEX]
    assert version(tmp_path / "net") == {1}
    assert progress.total == progress.done == 2 * sum(plan.size for plan in plans.values())


def test_a_new_folder_has_the_rights_of_any_new_folder(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_folder(single(1), tmp_path / "net")
        (tmp_path / "usual").mkdir()
    finally:
        os.umask(before)
    assert (tmp_path / "net").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "net" / SINGLE).stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("verify", [False, True])
def test_over_an_old_one(folder: Path, verify: bool) -> None:
    write_folder(sharded(2, "model-3.safetensors"), folder, verify=verify)
    assert version(folder) == {2}
    assert names(folder) == sorted(["model-3.safetensors", INDEX, *STRANGERS])


def test_the_planner_chooses_names_that_are_free(folder: Path) -> None:
    seen: list[frozenset[str]] = []

    def plans(taken: frozenset[str]) -> dict[str, Plan]:
        seen.append(taken)
        return sharded(2, "model-3.safetensors")

    write_folder(plans, folder)
    assert seen == [frozenset({"model-1.safetensors", "model-2.safetensors", INDEX, *STRANGERS})]


def test_a_name_that_is_taken_is_refused(folder: Path) -> None:
    before = names(folder)
    with pytest.raises(WriteError, match=r"net: holds `model-2.safetensors` already; choose an empty folder, or other"):
        write_folder(sharded(2, "model-3.safetensors", "model-2.safetensors"), folder)
    assert (names(folder), version(folder)) == (before, {1})


@pytest.mark.parametrize("name", ["../x", "switch", "old", ".."])
def test_a_name_that_is_none_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a file of a checkpoint"):
        write_folder(sharded(2, name), folder)


def test_one_file_takes_the_place_of_shards(folder: Path) -> None:
    write_folder(single(2), folder)
    assert names(folder) == sorted([SINGLE, *STRANGERS])
    assert version(folder) == {2}


def test_shards_take_the_place_of_one_file(tmp_path: Path) -> None:
    write_folder(single(1), tmp_path / "net")
    write_folder(sharded(2, "model-1.safetensors", "model-2.safetensors"), tmp_path / "net")
    assert names(tmp_path / "net") == ["model-1.safetensors", "model-2.safetensors", INDEX]


def test_one_file_over_another(tmp_path: Path) -> None:
    write_folder(single(1), tmp_path / "net")
    write_folder(single(2), tmp_path / "net")
    assert names(tmp_path / "net") == [SINGLE]
    assert version(tmp_path / "net") == {2}


def test_only_what_the_old_index_alone_named_goes(folder: Path) -> None:
    """Not what another index needs, nor what looks like no shard, nor anything outside, whatever the index says."""
    owners = {"t0": "model-1.safetensors", "t1": "model-2.safetensors", "t2": "tokenizer.json", "t3": "../out"}
    (folder / INDEX).write_text(json.dumps({"weight_map": owners}))
    (folder / "model.safetensors.index.ema.json").write_text(json.dumps({"weight_map": {"t0": "model-1.safetensors"}}))
    (folder.parent / "out").touch()
    write_folder(sharded(2, "model-3.safetensors"), folder)
    left = ["model-1.safetensors", "model-3.safetensors", INDEX, "model.safetensors.index.ema.json", *STRANGERS]
    assert names(folder) == sorted(left)
    assert (folder.parent / "out").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "[" * 10_000])
def test_an_old_index_that_is_none(folder: Path, text: str) -> None:
    (folder / INDEX).write_text(text)
    write_folder(sharded(2, "model-3.safetensors"), folder)
    assert version(folder) == {2}


def test_what_the_caller_says_is_replaced_goes(folder: Path) -> None:
    (folder / "__0_0.distcp").touch()
    plans = {"__1_0.distcp": Plan((b"x",)), ".metadata": Plan((b"y",))}
    write_folder(plans, folder, replaced=["__0_0.distcp", "gone"])
    assert "__0_0.distcp" not in names(folder)
    assert {"__1_0.distcp", ".metadata", "model-1.safetensors"} <= set(names(folder))


def test_into_an_empty_folder_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_folder(single(1), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real") == [SINGLE]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("file", "file: is a file; name a folder"),
        ("none/net", "none: there is no such folder to write in"),
        ("file/net", "file: is no folder"),
        ("x" * 256, "file name too long"),
    ],
)
def test_no_place_for_a_folder(tmp_path: Path, place: str, text: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=text) as caught:
        write_folder(single(1), tmp_path / place)
    assert len(str(caught.value).splitlines()) == 1
    assert names(tmp_path) == ["file"]


class Huge(Computed):
    """More than any disk has."""

    def __init__(self) -> None:
        super().__init__(b"")
        self.size = 1 << 60


@pytest.mark.parametrize("new", [False, True])
def test_there_is_room_for_all_files_or_for_none(folder: Path, new: bool) -> None:
    target = folder.parent / "new" if new else folder
    before = names(folder)
    huge = Plan((Extent(Huge(), 0, 1 << 60),))
    with pytest.raises(WriteError, match="are free on its disk"):
        write_folder({"model-3.safetensors": Plan((b"x",)), "model-4.safetensors": huge, INDEX: Plan(())}, target)
    assert (names(folder), names(folder.parent)) == (before, ["net"])


@pytest.mark.parametrize("new", [False, True])
def test_a_source_that_fails(folder: Path, new: bool) -> None:
    def fail(_: int) -> None:
        raise ReadError("gone")

    target = folder.parent / "new" if new else folder
    before = names(folder)
    plans = sharded(2, "model-3.safetensors", "model-4.safetensors")
    plans["model-4.safetensors"] = Plan((Extent(Computed(b"x", fail), 0, 1),))
    with pytest.raises(ReadError, match="gone"):
        write_folder(plans, target)
    assert (names(folder), version(folder), names(folder.parent)) == (before, {1}, ["net"])


def test_errors_name_the_file_as_it_will_be(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(WriteError) as caught:
        write_folder(sharded(2, "model-3.safetensors"), folder)
    assert str(caught.value).startswith(f"{folder / 'model-3.safetensors'}: cannot be written: no space left")


def test_where_a_file_has_only_one_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_folder(sharded(2, "model-3.safetensors", "model-4.safetensors"), folder)
    assert names(folder) == sorted(["model-3.safetensors", "model-4.safetensors", INDEX, *STRANGERS])
    assert version(folder) == {2}


# At each moment


class Killed(BaseException):
    """Stands for a kill: nothing is cleaned up."""


CHANGES = ["os.link", "os.unlink", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "open"]
"""The audit events of what changes a folder."""

SAVES = {
    "shards over shards": (
        sharded(1, "model-1.safetensors", "model-2.safetensors"),
        sharded(2, "model-3.safetensors", "model-4.safetensors", "model-5.safetensors"),
    ),
    "one over shards": (sharded(1, "model-1.safetensors", "model-2.safetensors"), single(2)),
    "shards over one": (single(1), sharded(2, "model-1.safetensors", "model-2.safetensors")),
    "one over one": (single(1), single(2)),
    "shards into nothing": ({}, sharded(2, "model-1.safetensors", "model-2.safetensors")),
}
MOMENTS = """
import os, sys
from pathlib import Path
from tests.writing.test_folders import CHANGES, SAVES
from statedict.writing import write_folder

plans, target, left = SAVES[sys.argv[1]][1], Path(sys.argv[2]), int(sys.argv[3])

def count(event, arguments):
    global left
    if event in CHANGES and any(str(target) in str(each) for each in arguments):
        left -= 1
        if left < 0:
            os._exit(9)

sys.addaudithook(count)
write_folder(plans, target)
"""


@pytest.mark.slow
@pytest.mark.parametrize("which", SAVES)
def test_killed_before_any_change(tmp_path: Path, which: str) -> None:
    """A kill before each change of the disk: old or new, whole, for both kinds of readers; the next save clears up."""
    old, new = SAVES[which]
    target, another = tmp_path / "net", {"extra.safetensors": Plan((b"x",)), "extra.json": Plan((b"y",))}
    found: list[int] = []
    code = 9
    while code:
        shutil.rmtree(target, ignore_errors=True)
        if old:
            write_folder(old, target)
            (target / "tokenizer.json").touch()
        program = [sys.executable, "-c", MOMENTS, which, str(target), str(len(found))]
        code = subprocess.run(program, check=False).returncode
        assert code in (0, 9)
        seen = [version(target), version_for_transformers(target)] if target.exists() else [set[int]()]
        assert all(each in ({1}, {2}) for each in seen) or not old
        write_folder(another, target)
        assert temporaries(tmp_path) == []
        stays = [*another, *(["tokenizer.json"] if old else [])]
        found.append(2 if {*new} <= {*names(target)} and version(target) == {2} else 1)
        assert names(target) == sorted([*(new if found[-1] == 2 else old), *stays])
        assert found[-1] == 2 or {2} not in seen  # what has been seen, stays
    assert found == sorted(found)  # and there is one moment of the switch
    assert set(found) == {1, 2}


def test_settling_twice_changes_nothing_more(folder: Path) -> None:
    temporary = folder / ".x.00000000.statedict-tmp"
    (temporary / "old").mkdir(parents=True)
    (temporary / "old" / "model-1.safetensors").hardlink_to(folder / "model-1.safetensors")
    folders.settle(temporary, folder)
    folders.settle(temporary, folder)
    assert names(folder) == sorted(["model-2.safetensors", INDEX, *STRANGERS])


def test_a_file_that_took_a_name_meanwhile_is_not_removed(folder: Path) -> None:
    """After a kill, somebody may put a file of their own under a name that the save had."""
    temporary = folder / ".x.00000000.statedict-tmp"
    (temporary / "switch").mkdir(parents=True)
    (temporary / "switch" / INDEX).touch()
    (temporary / "model-1.safetensors").touch()  # not the one that has this name now
    write_folder(sharded(2, "model-3.safetensors"), folder)
    assert version(folder) == {2}
    assert temporaries(folder) == []


def test_errors_are_ours() -> None:
    assert issubclass(WriteError, StatedictError)
    assert issubclass(WriteError, OSError)
