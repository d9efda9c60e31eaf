"""`statedict stats`: what is chosen, arranged and printed."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from statedict.views.figures import figures_of
from statedict.views.lines import plain
from statedict.views.stats import stats_table
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
    assert list(document) == ["schema", "file", "format", "total", "tensors"]


def test_modules(file: str) -> None:
    found = {row["name"]: row["numel"] for row in rows(file, "--modules")}
    assert found == {"": 12 + 3 + 4 * 3 + 12, "0": 15, "1": 12, "2": 12}


def test_modules_and_all_have_quantiles(file: str) -> None:
    asked = ("--quantiles", "0,1")
    found = {row["name"]: row["quantiles"] for row in rows(file, "--modules", *asked)}
    assert found["0"]["1"] == found[""]["1"] == 1e6
    assert found["2"] == {"0": 0.0, "1": 0.0}
    total = json.loads(run("stats", file, "--total", "--json", *asked).out)["total"]
    assert total["quantiles"] == found[""]
    assert run("stats", file, "--modules", *asked).out.splitlines()[0].split()[-2:] == ["q0", "q1"]


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
        (["--modules", "--spectrum"], "`--spectrum` is of each matrix"),
        (["--total", "--spectrum"], "`--spectrum` is of each matrix"),
        (["nothing.*"], "`nothing.*` matches"),
    ],
)
def test_wrong_use_is_answered(file: str, arguments: list[str], said: str) -> None:
    done = run("stats", file, *arguments)
    assert done.code == 2
    assert said in done.err


# What is asked for beside


@pytest.fixture
def sparse(tmp_path: Path) -> str:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Linear(16, 6))
    with torch.no_grad():
        net.get_parameter("0.weight")[1] = 0
        net.get_parameter("1.weight")[:, 0::4] = 0
        net.get_parameter("1.weight")[:, 1::4] = 0
    torch.save(net, tmp_path / "net.pt")
    return str(tmp_path / "net.pt")


def test_structure(sparse: str) -> None:
    kernel, matrix = rows(sparse, "*.weight", "--structure")
    assert (kernel["dead_output_channels"], kernel["dead_output_channels_at"]) == (1, [1])
    assert kernel["dead_input_channels"] == 0
    assert (matrix["dead_rows"], matrix["dead_columns_at"]) == (0, [0, 1, 4, 5, 8, 9, 12, 13])
    assert [matrix[f"n_of_{group}"] for group in (4, 8, 16)] == [2, 4, 8]
    printed = run("stats", sparse, "--structure").out
    assert "1 output    -" in printed
    assert "8 columns  2:4" in printed
    assert {row["name"]: row.get("dead_columns") for row in rows(sparse, "--modules", "--structure")}[""] == 8
    assert run("stats", sparse, "--modules", "--structure").out.split("\n")[1].endswith("1 output, 8 columns")


def test_spectrum(sparse: str) -> None:
    kernel, matrix = rows(sparse, "*.weight", "--spectrum")
    live = torch.load(sparse, weights_only=False).state_dict()
    values = torch.linalg.svdvals(live["0.weight"].double().reshape(4, -1))
    assert kernel["singular_values"] == pytest.approx(values.tolist())
    assert kernel["spectral_norm"] == kernel["singular_values"][0]
    assert (kernel["spectrum_exact"], len(matrix["singular_values"])) == (True, 6)
    assert matrix["stable_rank"] <= matrix["effective_rank"] <= 6
    assert {"max", "stable", "effective", "rank"} <= set(titles(sparse, "--spectrum"))


def test_shares_that_a_cast_loses(file: str) -> None:
    (row,) = rows(file, "0.weight", "--if-cast", "f16")
    assert (row["overflow_share"], row["vanish_share"]) == (1 / 12, 0)
    (total,) = [row for row in rows(file, "--modules", "--if-cast", "f16") if row["name"] == ""]
    assert (total["overflowed"], total["overflow_share"]) == (1, 1 / 39)


def test_total(file: str) -> None:
    document = json.loads(run("stats", file, "--total", "--histogram", "--json").out)
    assert list(document) == ["schema", "file", "format", "total"]
    assert sum(document["total"]["histogram"]["counts"]) == document["total"]["numel"] - 3
    assert run("stats", file, "--total").out.split("\n")[1].startswith("(all)")
    assert run("stats", file, "--total", "--csv").out.count("\n") == 2


def test_what_is_sorted_by_is_shown(file: str) -> None:
    assert "denormals" in titles(file, "--sort", "denormals")
    assert "nan" in titles(file, "1.*", "--sort", "nan")
    assert titles(file, "1.*", "--sort", "l2").count("l2") == 1


def test_csv_has_no_lists(sparse: str) -> None:
    text = run("stats", sparse, "--csv", "--structure", "--spectrum", "--histogram", "--if-cast", "bf16").out
    found = list(csv.DictReader(io.StringIO(text)))
    assert not {"singular_values", "histogram", "dead_columns_at"} & set(found[0])
    kernel = next(row for row in found if row["name"] == "0.weight")
    assert (kernel["dead_output_channels"], kernel["dead_rows"]) == ("1", "")


def test_files_are_written(sparse: str, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    picture, table = tmp_path / "net.svg", tmp_path / "net.parquet"
    done = run("stats", sparse, "--plot", str(picture), "--parquet", str(table))
    assert done.out == f"{picture}: 4 tensors\n{table}: 4 rows\n"
    assert picture.read_bytes()[:5] == b"<?xml"
    assert pq.read_table(table).column("name").to_pylist() == ["0.weight", "0.bias", "1.weight", "1.bias"]
    both = run("stats", sparse, "--modules", "--parquet", str(table), "--json")
    assert [row["name"] for row in json.loads(both.out)["modules"]] == pq.read_table(table).column("name").to_pylist()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--plot", "net.pt"], "`net.pt` does not end in .png or .svg or .pdf"),
        (["--parquet", "net.csv"], "`net.csv` does not end in .parquet"),
        (["--modules", "--total"], "cannot be had together"),
        (["--plot", "nowhere/net.png"], "nowhere"),
    ],
)
def test_files_that_cannot_be_written(
    sparse: str, tmp_path: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("stats", sparse, *arguments)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pt"]
