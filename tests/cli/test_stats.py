"""`statedict stats`: what is chosen, arranged and printed."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from statedict.views.lines import plain
from statedict.views.stats import figures_of, stats_table
from tests.commands import run


@pytest.fixture
def file(tmp_path: Path) -> str:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 4, bias=False))
    with torch.no_grad():
        net.get_parameter("0.weight")[0, 0] = float("nan")
        net.get_parameter("0.weight")[1] = torch.tensor([float("inf"), -float("inf"), 1e6, 0])
        net.get_parameter("2.weight").zero_()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    return str(tmp_path / "net.pt")


def rows(*arguments: str) -> list[dict[str, Any]]:
    (found,) = (
        value for value in json.loads(run("stats", *arguments, "--json").out).values() if isinstance(value, list)
    )
    return found


def test_json_has_every_figure(file: str) -> None:
    (row,) = rows(file, "0.weight", "--quantiles", "0,1", "--if-cast", "f16", "--histogram")
    assert {key: row[key] for key in ("name", "dtype", "shape", "numel", "nan", "posinf", "neginf", "zeros")} == {
        "name": "0.weight", "dtype": "float32", "shape": [3, 4], "numel": 12,
        "nan": 1, "posinf": 1, "neginf": 1, "zeros": 1,
    }  # fmt: skip
    assert (row["max"], row["quantiles"]["1"], row["overflowed"], row["vanished"]) == (1e6, 1e6, 1, 0)
    assert sum(row["histogram"]["counts"]) == 9
    document = json.loads(run("stats", file, "--json").out)
    assert document["total"]["nan"] == 1
    assert list(document) == ["file", "format", "total", "tensors"]


def test_modules(file: str) -> None:
    found = {row["name"]: row["numel"] for row in rows(file, "--modules")}
    assert found == {"": 12 + 3 + 4 * 3 + 12, "0": 15, "1": 12, "2": 12}


def test_the_largest_come_first(file: str) -> None:
    assert [row["name"] for row in rows(file, "**.weight", "--sort", "sparsity")] == [
        "2.weight",
        "0.weight",
        "1.weight",
    ]
    names = [row["name"] for row in rows(file, "--sort", "l2", "--top", "2", "-r")]
    assert len(names) == 2
    assert "0.weight" not in names


def test_csv_is_read_by_csv(file: str) -> None:
    found = list(csv.DictReader(io.StringIO(run("stats", file, "--csv", "--quantiles", "0.5").out)))
    assert [row["name"] for row in found] == [row["name"] for row in rows(file)]
    assert found[0]["shape"] == "[3, 4]"
    assert float(found[1]["q0.5"]) == torch.load(file)["0.bias"].median().item()


def test_the_table_has_columns_for_what_is_unusual(file: str) -> None:
    usual = ["name", "dtype", "shape", "min", "max", "mean", "std", "l2", "zeros"]
    assert titles(file) == [*usual, "nan", "inf", "-inf"]
    assert titles(file, "1.*") == usual
    narrow = plain(stats_table(figures_of(statistics(file), modules=False), 50))
    assert max(map(len, narrow.split("\n"))) <= 50


def titles(*arguments: str) -> list[str]:
    return run("stats", *arguments).out.split("\n")[0].split()


def statistics(file: str) -> Any:
    import statedict

    return statedict.stats(statedict.open(file))


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2), "s": torch.eye(2).to_sparse()}, tmp_path / "s.pt")
    done = run("stats", str(tmp_path / "s.pt"))
    assert "left out: tensor `s` is sparse_coo" in done.out
    assert list(json.loads(run("stats", str(tmp_path / "s.pt"), "--json").out)["skipped"]) == ["s"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quantiles", "x"], "`x` is no list of numbers from 0 to 1"),
        (["--quantiles", "7"], "the quantile 7 is none"),
        (["--if-cast", "i8"], "`int8` is no floating-point type"),
        (["--if-cast", "f17"], "`f17` is no element type"),
        (["--json", "--csv"], "cannot be had together"),
        (["nothing.*"], "`nothing.*` matches"),
    ],
)
def test_wrong_use_is_answered(file: str, arguments: list[str], said: str) -> None:
    done = run("stats", file, *arguments)
    assert done.code == 2
    assert said in done.err
