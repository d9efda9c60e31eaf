"""What is answered about one checkpoint: numpy says the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from statedict.cli.explore import side
from statedict.errors import PatternError
from statedict.web.drawing import drawn
from statedict.web.side import Side


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Side:
    torch.manual_seed(0)
    state = {
        "conv.weight": torch.randn(5, 3, 4, 4),
        "conv.bias": torch.randn(5),
        "fc.weight": torch.randn(30, 20).half(),
        "odd.weight": torch.tensor([[1.0, float("nan")], [float("inf"), -2.0]]),
        "count": torch.tensor(7),
        "none.weight": torch.zeros(0, 3),
        "meta.weight": torch.ones(2, device="meta"),
    }
    path = tmp_path_factory.mktemp("side") / "a.pt"
    torch.save(state, path)
    return side(str(path), None, None, strip=False)


def at(opened: Side, name: str) -> int:
    return next(number for number, entry in opened.page.tensors() if entry.name == name)


def values(opened: Side, name: str) -> Any:
    return opened.model.state_dict()[name].numpy()


def test_all_answers_are_json(opened: Side) -> None:
    for number in range(len(opened.page.members)):
        json.dumps(opened.facts(number), allow_nan=False)
    for number, _ in opened.page.tensors():
        json.dumps(opened.statistics(number), allow_nan=False)
    json.dumps(opened.fields(), allow_nan=False)
    json.dumps(opened.all_figures(lambda _done, _total: None), allow_nan=False)


def test_statistics(opened: Side) -> None:
    found = opened.statistics(at(opened, "fc.weight"))
    array = values(opened, "fc.weight").astype("f8")
    assert found["figures"]["mean"] == pytest.approx(array.mean())
    assert found["figures"]["quantiles"]["0.5"] == pytest.approx(np.median(array))
    counts, edges = np.histogram(array, 64, (array.min(), array.max()))
    assert found["histogram"]["counts"] == counts.tolist()
    assert (found["histogram"]["low"], found["histogram"]["high"]) == pytest.approx((edges[0], edges[-1]), rel=1e-6)
    assert found["exact"]
    assert sum(found["magnitudes"]["counts"]) == np.count_nonzero(array)
    assert not opened.statistics(at(opened, "conv.weight"))["exact"]


def test_what_has_no_statistics_says_why(opened: Side) -> None:
    assert "without its values" in opened.statistics(at(opened, "meta.weight"))["error"]
    assert opened.spectrum(at(opened, "conv.bias")) == {"error": "it is no matrix"}
    assert "no singular values" in opened.spectrum(at(opened, "odd.weight"))["error"]


def test_singular_values(opened: Side) -> None:
    found = opened.spectrum(at(opened, "fc.weight"))
    wanted = np.linalg.svd(values(opened, "fc.weight").astype("f8"), compute_uv=False)
    assert found["values"] == pytest.approx(wanted.tolist(), rel=1e-6)
    assert found["exact"]


def test_a_row(opened: Side) -> None:
    found = opened.row(at(opened, "fc.weight"), 3)
    row = values(opened, "fc.weight")[3].astype("f8")
    assert found["values"] == pytest.approx(row.tolist(), rel=1e-6)
    assert found["norm"] == pytest.approx(float(np.linalg.norm(row)))
    assert opened.row(at(opened, "odd.weight"), 1)["values"] == ["inf", -2.0]
    with pytest.raises(IndexError, match="out of bounds"):
        opened.row(at(opened, "fc.weight"), 30)


def test_filters(opened: Side) -> None:
    found = opened.filters(at(opened, "conv.weight"), 2, 0)
    assert (found["first"], found["count"], found["coloured"]) == (2, 3, True)
    wanted = values(opened, "conv.weight")[2:].reshape(-1)
    assert found["values"] == pytest.approx(wanted.tolist(), rel=1e-6)
    with pytest.raises(PatternError, match="four dimensions"):
        opened.filters(at(opened, "fc.weight"), 0, 0)


def test_figures_of_all(opened: Side) -> None:
    found = opened.all_figures(lambda _done, _total: None)
    row = found["at"].index(at(opened, "odd.weight"))
    assert (found["nan"][row], found["infinite"][row], found["min"][row], found["max"][row]) == (1, 1, -2.0, 1.0)
    assert found["rms"][found["at"].index(at(opened, "conv.bias"))] == pytest.approx(
        float(np.sqrt(np.mean(values(opened, "conv.bias") ** 2))), rel=1e-6
    )


def test_a_tile_is_four_planes(opened: Side) -> None:
    asked = {"side": "0", "at": str(at(opened, "odd.weight")), "rows": "0", "columns": "1"}
    asked |= {"top": "0", "left": "0", "bottom": "2", "right": "2", "height": "2", "width": "2"}
    tile = drawn([opened], asked)
    assert tile.about == {"rows": 2, "columns": 2, "seen": 4, "total": 4}
    planes = np.frombuffer(tile.data[:48], "<f4").reshape(3, 2, 2)
    np.testing.assert_array_equal(planes[0], [[1, np.nan], [np.nan, -2]])
    assert list(tile.data[48:]) == [0, 1, 2, 0]


def test_the_difference_of_two_is_computed_exactly(opened: Side, tmp_path: Path) -> None:
    before = values(opened, "fc.weight").astype("f8")
    torch.save({"fc.weight": torch.from_numpy((before + 1e-4).astype("f4"))}, tmp_path / "b.pt")
    other = side(str(tmp_path / "b.pt"), None, None, strip=False)
    asked = {"side": "difference", "at": str(at(opened, "fc.weight")), "other": str(at(other, "fc.weight"))}
    asked |= {"rows": "0", "columns": "1", "top": "0", "left": "0", "bottom": "30", "right": "20"}
    tile = drawn([opened, other], asked | {"height": "30", "width": "20"})
    found = np.frombuffer(tile.data[: 4 * 600], "<f4").reshape(30, 20)
    np.testing.assert_allclose(found, (before + 1e-4).astype("f4").astype("f8") - before, rtol=1e-6)
    with pytest.raises(PatternError, match="the shapes differ"):
        drawn([opened, other], asked | {"at": str(at(opened, "conv.bias")), "height": "1", "width": "1"})
