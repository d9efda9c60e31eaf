"""The examples run, from beginning to end, and do what they say."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient

import statedict as sd

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.slow
def test_prune_digits(tmp_path: Path) -> None:
    arguments = [
        "--out",
        tmp_path,
        "--epochs",
        "9",
        "--methods",
        "magnitude",
        "channels",
        "4x4",
        "2:4",
        "shrunk",
        "--amounts",
        "0",
        "0.5",
    ]
    ran = subprocess.run(
        [sys.executable, EXAMPLES / "prune_digits.py", *arguments], check=True, capture_output=True, text=True
    )
    assert ran.stderr == ""
    assert "named_children   ['features', 'flatten', 'classifier']" in ran.stdout
    points = json.loads((tmp_path / "points.json").read_text())
    assert [(point["method"], point["amount"]) for point in points] == [
        ("magnitude", 0.0), ("magnitude", 0.5), ("channels", 0.0), ("channels", 0.5), ("4x4", 0.0), ("4x4", 0.5),
        ("2:4", 0.5), ("shrunk", 0.0), ("shrunk", 0.5),
    ]  # fmt: skip
    whole, half, small = points[0], points[1], points[-1]
    assert round(points[5]["sparsity"] * 6611) == round(points[6]["sparsity"] * 6611) == 128 * 36 / 2
    assert whole["sparsity"] == 0.0
    assert round(half["sparsity"] * 6611) == round(0.5 * 486) + round(0.5 * 4608)
    assert half["deflated"] < 0.75 * whole["deflated"]
    assert half["tuned"] > 0.9
    assert small["parameters"] == 3 * 9 + 3 + 6 + 3 * 5 * 9 + 5 + 10 + 20 * 64 + 64 + 64 * 10 + 10
    assert small["nbytes"] < 0.4 * whole["nbytes"]
    assert small["tuned"] > 0.6
    assert (tmp_path / "accuracy.svg").stat().st_size > 1000
    weight = sd.open(tmp_path / "magnitude-50.safetensors").get_parameter("classifier.0.weight").numpy()
    assert (weight == 0).sum() == weight.size / 2
    assert torch.load(tmp_path / "shrunk-50.pt", weights_only=False).classifier[0].out_features == 64


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Proactor|unclosed|There is no current event loop")  # of Jupyter's own
def test_the_notebook_runs_and_holds_what_it_gave() -> None:
    notebook = nbformat.read(EXAMPLES / "prune_digits.ipynb", as_version=4)
    held = [len(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]

    client = NotebookClient(
        notebook, timeout=120, coalesce_streams=True, resources={"metadata": {"path": EXAMPLES}}, kernel_name="python3"
    )
    client.execute()

    given = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert [len(outputs) for outputs in given] == held
    assert any("image/png" in output.get("data", {}) for outputs in given for output in outputs)
    assert "Linear(in_features=20, out_features=64, bias=True)" in str(given)
