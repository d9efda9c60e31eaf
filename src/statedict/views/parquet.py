"""What `stats` has found as a Parquet file, by pyarrow."""

import importlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from statedict.errors import MissingExtraError
from statedict.views.figures import FIGURES, Figures, figure_fields

_COUNTS = frozenset({"numel", "zeros", "nan", "posinf", "neginf", "denormals", "overflowed", "vanished", "distinct"})
_TEXTS = frozenset({"name", "dtype", "role"})


def require_pyarrow() -> None:
    """Nothing, where Parquet can be written. Raises MissingExtraError with the command that installs pyarrow."""
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError(
            "Parquet needs pyarrow, which is not installed; install it with `pip install statedict[parquet]`"
        ) from error


def parquet(rows: Iterable[Figures], head: Mapping[str, Any], *, histogram: bool = False) -> bytes:
    """`rows` as a Parquet file with the keys of JSON, a column each; null for what is not, or has no number there.

    A quantile has a column of its own, `q0.5`; a histogram two, `histogram_counts` and `histogram_edges`. What `head`
    says of all stands as JSON under `statedict` in the file's metadata. Raises MissingExtraError without pyarrow.
    """
    require_pyarrow()
    pa: Any = importlib.import_module("pyarrow")
    writer: Any = importlib.import_module("pyarrow.parquet")
    every = [_flat(figure_fields(row, histogram=histogram)) for row in rows]
    keys = list(dict.fromkeys(["name", *FIGURES, *(key for fields in every for key in fields)]))
    keys.sort(key=lambda key: key not in _TEXTS and key != "shape")
    columns = [pa.array([_value(key, fields.get(key)) for fields in every], _type(pa, key)) for key in keys]
    table = pa.Table.from_arrays(columns, names=keys).replace_schema_metadata({"statedict": json.dumps(head)})
    out = pa.BufferOutputStream()
    writer.write_table(table, out, compression="zstd")
    return out.getvalue().to_pybytes()


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    for share, value in fields.pop("quantiles", {}).items():
        fields[f"q{share}"] = value
    for part, values in fields.pop("histogram", {}).items():
        fields[f"histogram_{part}"] = values
    return fields


def _type(pa: Any, key: str) -> Any:
    if key in _TEXTS:
        return pa.string()
    if key == "also":
        return pa.list_(pa.string())
    if key in ("shape", "histogram_counts") or key.endswith("_at"):
        return pa.list_(pa.int64())
    if key in ("singular_values", "histogram_edges"):
        return pa.list_(pa.float64())
    if key == "spectrum_exact":
        return pa.bool_()
    return pa.int64() if key in _COUNTS or key.startswith(("dead_", "n_of_")) else pa.float64()


def _value(key: str, value: Any) -> Any:
    """A value as its column has it: JSON's text of an infinity is a number, that of a complex number is not there."""
    if key in _TEXTS:
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, str):
        return None if value.endswith(("j", ")")) else float(value)
    return value
