"""Plans: what a run would read and write, told before anything is done."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks import huge
from statedict import engine
from statedict.columns import Columns
from statedict.dtypes import SAFETENSORS_DTYPES
from statedict.executors import Rehearsal, Rehearsed
from statedict.opening import open, read_index
from statedict.ops.stats import rehearsed, stats
from statedict.planning import estimate
from statedict.source import BytesSource
from tests.commands import run
from tests.remote.sparse import sparse_model

MIB = 1 << 20


@pytest.fixture
def net(tmp_path: Path) -> Path:
    values = {f"layers.{at}.weight": np.ones((MIB // 4,), "f4") for at in range(8)}
    save_file(values, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_reading_is_planned(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_UNIT", 4 * MIB)
    with pytest.raises(Rehearsed) as told:
        stats(open(net), executor=Rehearsal())

    found = estimate(told.value)
    assert (found.read, found.written, found.files, found.targets) == (8 * MIB, 0, 1, 0)
    assert found.units == 2
    assert found.read_rate is not None
    assert found.write_rate is None


def test_a_plan_that_keeps_nothing_has_the_units_of_the_run(tmp_path: Path) -> None:
    huge.write(tmp_path / "huge", 300, layers=4, shards=7)
    with pytest.raises(Rehearsed) as told:
        stats(open(tmp_path / "huge"), executor=Rehearsal())
    columns = read_index(tmp_path / "huge").tensors
    assert isinstance(columns, Columns)

    def reads(units: Iterable[engine.Unit]) -> list[list[tuple[str, int, int, int]]]:
        return [
            [(read.extent.source.name, read.extent.offset, read.size, len(read.pieces)) for read in unit]
            for unit in units
        ]

    assert reads(rehearsed(columns)) == reads(told.value.units)
    whole, chosen = (run("stats", str(tmp_path / "huge"), *pattern, "--plan") for pattern in ([], ["**"]))
    assert whole.out.splitlines()[:2] == chosen.out.splitlines()[:2]
    assert not columns._made


@pytest.mark.parametrize("kind", SAFETENSORS_DTYPES)
def test_every_type_can_be_planned_unseen(kind: str) -> None:
    dtype = SAFETENSORS_DTYPES[kind]
    size = dtype.nbytes(8)
    (unit,) = rehearsed(
        Columns(BytesSource(bytes(size)), ["a", "b"], [dtype] * 2, [(8,), (0, 8)], [0, size], [size, 0])
    )

    assert [read.size for read in unit] == [size]


@pytest.mark.parametrize(
    ("arguments", "read", "written"),
    [
        (("convert", "{net}", "{to}.safetensors"), "8.00 MiB of 1 file", "8.00 MiB into 1 file"),
        (("convert", "{net}", "{to}", "--dtype", "bf16"), "8.00 MiB of 1 file", "4.00 MiB into 1 file"),
        (("edit", "{net}", "{to}.pt", "--drop", "layers.{{4-7}}.**"), "4.00 MiB of 1 file", "4.00 MiB into 1 file"),
        (("merge", "{net}", "{net}", "{to}.safetensors"), "16.0 MiB of 2 files", "8.00 MiB into 1 file"),
        (("stats", "{net}"), "8.00 MiB of 1 file", None),
        (("hash", "{net}"), "8.00 MiB of 1 file", None),
        (("check", "{net}"), "8.00 MiB of 1 file", None),
        (("diff", "{net}", "{net}.copy"), "16.0 MiB of 2 files", None),
    ],
)
def test_commands_are_planned(net: Path, arguments: tuple[str, ...], read: str, written: str | None) -> None:
    net.with_name("net.safetensors.copy").write_bytes(net.read_bytes())
    before = sorted(net.parent.iterdir())

    ran = run(*(each.format(net=net, to=net.with_name("to")) for each in arguments), "--plan")

    assert ran.code == 0, ran.err
    assert f"reads   {read}\n" in ran.out
    assert (f"writes  {written}\n" in ran.out) == (written is not None)
    assert "as measured just now" in ran.out
    assert sorted(net.parent.iterdir()) == before


def test_a_plan_as_json_says_the_same(net: Path) -> None:
    to = net.with_name("to.safetensors")
    command = "convert", str(net), str(to), "--dtype", "bf16"

    told = json.loads(run(*command, "--plan", "--json").out)

    assert run(*command).code == 0
    assert (told["read"], told["written"]) == (8 * MIB, to.stat().st_size)
    assert (told["files"], told["targets"]) == (1, 1)
    rates = told["rates"]
    assert told["seconds"] == pytest.approx(told["read"] / rates["read"] + told["written"] / rates["written"], 0.01)


@pytest.mark.parametrize("command", ["convert", "edit --drop layers.0.**", "prune -a 0.5", "merge {net}"])
def test_json_without_a_plan_is_told(net: Path, command: str) -> None:
    name, *more = command.format(net=net).split()

    ran = run(name, str(net), *more, str(net.with_name("to.safetensors")), "--json")

    assert ran.code == 2
    assert "`--json` prints a plan; give `--plan`, too" in ran.err
    assert not net.with_name("to.safetensors").exists()


def test_pruning_counts_its_passes(net: Path) -> None:
    ran = run("prune", str(net), str(net.with_name("to.safetensors")), "-a", "0.5", "--protect", "none", "--plan")

    assert "reads   16.0 MiB of 1 file\n" in ran.out  # float32 is ranked before it is written
    assert "writes  8.00 MiB into 1 file\n" in ran.out


def test_a_large_model_is_planned_from_its_headers(tmp_path: Path) -> None:
    sparse_model(tmp_path / "model", 4, 512, 50 * MIB)

    ran = run("convert", str(tmp_path / "model"), str(tmp_path / "to"), "--dtype", "f8_e4m3fn", "--plan")

    assert "reads   100 GiB of 4 files\n" in ran.out
    assert "writes  50.0 GiB into " in ran.out
