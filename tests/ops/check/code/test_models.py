"""Models that open files elsewhere, or call what is none of theirs."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from statedict.limits import DEFAULT_LIMITS
from statedict.ops.check.code.places import look
from statedict.source import FileSource
from tests.corpus import models
from tests.corpus.models import layer, model_of, onnx, onnx_external, onnx_node


def told(path: Path) -> list[tuple[str, str]]:
    return [(act.grade, act.reason) for act in look(FileSource(path), DEFAULT_LIMITS).acts]


def test_hdf5_that_opens_another_file(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        file["a"] = h5py.ExternalLink("/etc/passwd", "/x")
        file["b"] = np.ones(3)
        file.create_dataset("c", (3,), "u1", external=[("/etc/passwd", 0, 3)])
    (opens, reads) = sorted(told(path))
    assert opens[0] == reads[0] == "unknown"
    assert opens[1].startswith("opens another file: `/etc/passwd")
    assert reads[1] == "reads its values from another file"


def test_a_lambda_in_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(model_of(models._NEW_LAMBDA))
    assert told(path) == [("dangerous", "is a function whose code lies in the file, and is run")]
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(model_of(layer("Dense", {"units": 2})))
    assert told(path) == []


@pytest.mark.parametrize(
    ("path", "grade"),
    [
        ("weights.bin", None),
        ("data/weights.bin", None),
        ("../weights.bin", "dangerous"),
        ("data/../../weights.bin", "dangerous"),
        ("..\\weights.bin", "dangerous"),
        ("/etc/passwd", "dangerous"),
        ("C:\\weights.bin", "dangerous"),
        ("https://x/weights.bin", "dangerous"),
    ],
)
def test_external_data_of_onnx(path: str, grade: str | None, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(onnx(tensor=onnx_external(path)))
    assert [found for found, _ in told(tmp_path / "net.onnx")] == ([] if grade is None else [grade])


def test_external_data_of_onnx_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "weights.bin").write_bytes(bytes(4))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "net.onnx").write_bytes(onnx(tensor=onnx_external("weights.bin")))
    (folder / "weights.bin").symlink_to(tmp_path / "elsewhere" / "weights.bin")
    assert [grade for grade, _ in told(folder / "net.onnx")] == ["dangerous"]
    (folder / "net.onnx").rename(tmp_path / "elsewhere" / "net.onnx")
    (folder / "net.onnx").symlink_to(tmp_path / "elsewhere" / "net.onnx")  # as the Hugging Face cache lays files out
    assert told(folder / "net.onnx") == []


@pytest.mark.parametrize(
    ("operator", "domain", "grades"),
    [
        (b"Add", b"", []),
        (b"FusedMatMul", b"com.microsoft", []),
        (b"TreeEnsembleRegressor", b"ai.onnx.ml", []),
        (b"Evil", b"ai.onnx.evil", ["unknown"]),
        (b"PythonOp", b"com.microsoft", ["dangerous"]),
    ],
)
def test_operators_of_onnx(operator: bytes, domain: bytes, grades: list[str], tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(onnx(onnx_node(operator, domain)))
    assert [grade for grade, _ in told(tmp_path / "net.onnx")] == grades
