"""The catalogue of a zoo in which duplicates and families were planted."""

import collections
import json
import pathlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import statedict as sd
from statedict.catalog.adding import add
from statedict.catalog.asking import duplicates, find
from statedict.catalog.database import Catalog
from statedict.catalog.relating import families
from statedict.errors import FormatError, PatternError, ReadError, StatedictError
from tests.catalog.zoo import Zoo, plant
from tests.commands import run
from tests.remote.servers import web_server


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Zoo, Path, Path]:
    folder = tmp_path_factory.mktemp("zoo")
    zoo = plant(folder / "models", 300)
    with Catalog(folder / "zoo.duckdb", create=True) as catalog:
        found = add(catalog, [str(folder / "models")], prints=True)
    assert (found.added, found.unchanged, found.removed, found.unreadable) == (300, 0, 0, 0)
    return zoo, folder / "models", folder / "zoo.duckdb"


def test_duplicates_are_found_exactly(planted: tuple[Zoo, Path, Path]) -> None:
    zoo, _, db = planted
    with Catalog(db) as catalog:
        found = duplicates(catalog, 5)

    assert (found.tensors, found.saved, found.files) == (zoo.duplicated, zoo.saved, 30)
    assert found.largest[0].saved == max((count - 1) * zoo.sizes[key] for key, count in zoo.copies.items())


def test_lineage_is_found_exactly(planted: tuple[Zoo, Path, Path]) -> None:
    zoo, _, db = planted
    with Catalog(db) as catalog:
        lines = families(catalog)

    found = {Path(name).name: Path(said["parent"]).name for _, name, said in lines if said}
    assert found == zoo.parents
    assert sum(depth == 0 for depth, _, _ in lines) == 30


def test_lineage_of_one_model(planted: tuple[Zoo, Path, Path]) -> None:
    _, folder, db = planted
    ran = run("catalog", "lineage", str(folder / "000" / "family000007-9.safetensors"), "--db", str(db))

    assert ran.code == 0
    assert len(ran.out.splitlines()) == 10
    assert "family000007-0.safetensors" in ran.out.splitlines()[0]


def test_lineage_as_a_graph(planted: tuple[Zoo, Path, Path]) -> None:
    _, _, db = planted
    lines = run("catalog", "lineage", "--db", str(db), "--dot").out.splitlines()

    assert lines[0] == "digraph lineage {"
    assert sum(" -> " in line for line in lines) == 270


def test_what_is_in_already_is_not_opened_again(planted: tuple[Zoo, Path, Path]) -> None:
    _, folder, db = planted
    with Catalog(db, create=True) as catalog:
        found = add(catalog, [str(folder)], prints=True)

    assert (found.added, found.unchanged) == (0, 300)


def test_what_changed_is_opened_again_and_what_went_is_taken_out(tmp_path: Path) -> None:
    plant(tmp_path / "models", 20)
    names = sorted((tmp_path / "models" / "000").iterdir())
    with Catalog(tmp_path / "zoo.duckdb", create=True) as catalog:
        add(catalog, [str(tmp_path / "models")])
        sd.save({"new.weight": torch.ones(3)}, names[3])
        names[5].unlink()
        found = add(catalog, [str(tmp_path / "models")])

        assert (found.added, found.unchanged, found.removed) == (1, 18, 1)
        assert find(catalog, name="new.weight")[1][0][0] == str(names[3])
        assert catalog.rows("SELECT count(*) FROM checkpoints") == [(19,)]
        assert catalog.rows("SELECT count(DISTINCT checkpoint) FROM tensors") == [(19,)]


def test_digests_are_made_when_they_are_asked_for_later(tmp_path: Path) -> None:
    zoo = plant(tmp_path / "models", 10)
    with Catalog(tmp_path / "zoo.duckdb", create=True) as catalog:
        add(catalog, [str(tmp_path / "models")])
        with pytest.raises(StatedictError, match=r"has no digests of tensors; `statedict catalog add FOLDER --prints"):
            duplicates(catalog)
        assert add(catalog, [str(tmp_path / "models")], prints=True).added == 10
        assert duplicates(catalog).tensors == zoo.duplicated


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on(tmp_path: Path) -> None:
    zoo = plant(tmp_path / "models", 2000)
    db = tmp_path / "zoo.duckdb"
    program = [sys.executable, "-m", "statedict", "catalog", "add", str(tmp_path / "models"), "--db", str(db)]
    process = subprocess.Popen([*program, "--threads", "1"])
    while not (db.with_name("zoo.duckdb.wal").exists() and db.with_name("zoo.duckdb.wal").stat().st_size > 50_000):
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()

    with Catalog(db, create=True) as catalog:
        before = catalog.rows("SELECT count(*), count(DISTINCT path) FROM checkpoints")[0]
        assert before[0] == before[1] <= zoo.files  # each whole, and once
        found = add(catalog, [str(tmp_path / "models")])
        assert found.unchanged == before[0]
        assert catalog.rows("SELECT count(*), count(DISTINCT path) FROM checkpoints") == [(2000, 2000)]
        assert catalog.rows("SELECT count(*) FROM tensors") == [(8000,)]


def test_what_cannot_be_read_is_kept_with_its_error(tmp_path: Path) -> None:
    plant(tmp_path / "models", 10)
    (tmp_path / "models" / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    ran = run("catalog", "add", str(tmp_path / "models"), "--db", str(tmp_path / "zoo.duckdb"))

    first, last = ran.out.splitlines()
    assert first.startswith(f"unreadable: {tmp_path}/models/broken.safetensors: its header ends at byte 24, but ")
    assert last == f"{tmp_path}/zoo.duckdb: 11 checkpoints added (1 of them unreadable), 0 unchanged, 0 removed"
    asked = run(
        "catalog",
        "sql",
        "SELECT right(error, 60) AS error FROM checkpoints WHERE error IS NOT NULL",
        "--db",
        str(tmp_path / "zoo.duckdb"),
    )
    assert "truncated" in asked.out


class Harmful:
    """What a hostile pickle holds."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1",)


def test_dangers_are_found(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "good.pt")
    torch.save({"w": torch.ones(2), "x": Harmful()}, tmp_path / "bad.pt")
    db = str(tmp_path / "zoo.duckdb")
    run("catalog", "add", str(tmp_path), "--db", db)

    ran = run("catalog", "find", "--danger", "eval", "--db", db, "--json")

    (row,) = json.loads(ran.out)["rows"]
    assert row["path"] == str(tmp_path / "bad.pt")
    assert row["dangers"] in ("builtins.eval (dangerous)", "__builtin__.eval (dangerous)")
    assert run("catalog", "find", "--danger", "nothing.so", "--db", db).code == 1


@pytest.mark.parametrize(
    ("what", "dangers"),
    [
        (torch.nn.Linear(2, 2), []),
        (collections.OrderedDict(a=torch.ones(2)), []),
        (pathlib.PurePosixPath("a"), []),
        (torch.hub.load, [("torch.hub.load", "dangerous")]),
        (Harmful, [("tests.catalog.test_catalog.Harmful", "unknown")]),
    ],
    ids=["a module", "a state", "a path", "a loader", "a stranger"],
)
def test_dangers_have_the_grades_of_check(what: Any, dangers: list[tuple[str, str]], tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2), "x": what}, tmp_path / "net.pt")
    with Catalog(tmp_path / "zoo.duckdb", create=True) as catalog:
        add(catalog, [str(tmp_path / "net.pt")])

        assert catalog.rows("SELECT what, grade FROM dangers") == dangers


def test_finding(planted: tuple[Zoo, Path, Path]) -> None:
    _, _, db = planted
    with Catalog(db) as catalog:
        assert len(find(catalog, 1000, shape=[8, None])[1]) == 300
        assert len(find(catalog, 1000, name="body.*.weight")[1]) == 600
        row = find(catalog, 1, name="head.weight")[1][0]
        assert len(find(catalog, 1000, digest=row[-1][:20])[1]) >= 1
        with pytest.raises(PatternError, match="say what to find"):
            find(catalog)


def test_folders_of_shards_are_one_checkpoint(tmp_path: Path) -> None:
    model = sd.open({"a": {"weight": torch.ones(100, 10)}, "b": {"weight": torch.zeros(100, 10)}})
    sd.save(
        model,
        tmp_path / "models" / "sharded" if (tmp_path / "models").mkdir() is None else tmp_path,
        max_shard_size=5000,
    )
    (tmp_path / "models" / "sharded" / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    db = str(tmp_path / "zoo.duckdb")

    assert "1 checkpoint added" in run("catalog", "add", str(tmp_path / "models"), "--db", db).out
    found = json.loads(run("catalog", "find", "--model", "llama", "--db", db, "--json").out)["rows"]
    assert [(row["path"], row["tensors"]) for row in found] == [(str(tmp_path / "models" / "sharded"), 2)]


def test_a_remote_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATEDICT_CACHE", "0")
    plant(tmp_path / "models", 10)
    with web_server(tmp_path) as web, Catalog(tmp_path / "zoo.duckdb", create=True) as catalog:
        found = add(catalog, [f"{web.url}/models/"], prints=True)

        assert (found.added, found.unreadable) == (10, 0)
        assert len(families(catalog)) == 10
        assert catalog.rows("SELECT path FROM checkpoints ORDER BY path")[0][0].startswith(
            f"{web.url}/models/000/family"
        )


def test_sql_and_parquet(planted: tuple[Zoo, Path, Path], tmp_path: Path) -> None:
    _, _, db = planted
    run("catalog", "sql", f"COPY tensors TO '{tmp_path}/tensors.parquet'", "--db", str(db))
    ran = run("catalog", "sql", f"SELECT count(*) AS n FROM '{tmp_path}/tensors.parquet'", "--db", str(db), "--json")

    assert json.loads(ran.out)["rows"] == [{"n": 1200}]
    assert "Catalog Error" in run("catalog", "sql", "SELECT * FROM nothing", "--db", str(db)).err


def test_no_catalogue_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"there is no such catalogue; `statedict catalog add FOLDER"):
        Catalog(tmp_path / "zoo.duckdb")


def test_another_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "zoo.duckdb").write_bytes(b"x" * 10_000)
    with pytest.raises((FormatError, ReadError), match=r"zoo\.duckdb: "):
        Catalog(tmp_path / "zoo.duckdb")
