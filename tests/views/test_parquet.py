"""Figures as a Parquet file, read back by pyarrow itself."""

import io
import json
from typing import Any

import pyarrow.parquet as pq
import torch

import statedict
from statedict.views.figures import figure_fields, figures_of
from statedict.views.parquet import parquet


def rows_of(tensors: dict[str, Any], *, histogram: bool = True, **how: Any) -> Any:
    found = statedict.stats(statedict.open(tensors), counts=histogram, **how)
    rows = figures_of(found, modules=False)
    content = parquet(rows, {"file": "net.pt"}, histogram=histogram)
    return rows, pq.read_table(io.BytesIO(content))


def test_rows_are_those_of_json() -> None:
    torch.manual_seed(0)
    shared = torch.randn(8, 4)
    tensors = {"a.w": shared, "b.w": shared, "c.bias": torch.ones(3, dtype=torch.bfloat16), "n": torch.arange(5)}
    rows, table = rows_of(tensors, quantiles=(0.5,), if_cast="f16", structure=True, spectrum=2)
    expected = [figure_fields(row, histogram=True) for row in rows]
    for fields, found in zip(expected, table.to_pylist(), strict=True):
        fields["shape"] = list(fields["shape"])
        fields |= {f"q{share}": value for share, value in fields.pop("quantiles").items()}
        fields |= {f"histogram_{part}": values for part, values in fields.pop("histogram").items()}
        assert {key: found[key] for key in fields if key != "also"} == {k: v for k, v in fields.items() if k != "also"}
        there, wanted = ({k for k, v in each.items() if v is not None} for each in (found, fields))
        assert there == wanted
    assert table.column("also").to_pylist() == [None, ["b.w"], None]
    assert json.loads(table.schema.metadata[b"statedict"]) == {"file": "net.pt"}


def test_types_do_not_depend_on_what_is_there() -> None:
    _, empty = rows_of({}, histogram=False)
    _, full = rows_of({"w": torch.ones(3)}, histogram=False)
    _, nothing = rows_of({"w": torch.full((3,), float("nan"))}, histogram=False)
    assert (empty.num_rows, full.num_rows) == (0, 1)
    for table in (full, nothing):
        assert {str(table.schema.field(name).type) for name in ("min", "max", "mean", "std", "sparsity")} == {"double"}
    assert nothing.column("mean").to_pylist() == [None]
    assert nothing.column("nan").to_pylist() == [3]


def test_what_no_column_of_numbers_can_hold() -> None:
    tensors = {"c": torch.ones(2, dtype=torch.complex64), "big": torch.full((9,), 1e200, dtype=torch.float64)}
    _, table = rows_of(tensors, histogram=False)
    assert table.column("mean").to_pylist() == [None, 1e200]
    assert table.column("l2").to_pylist()[1] == float("inf")
