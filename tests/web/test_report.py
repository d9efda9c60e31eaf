"""A report: one file that needs nothing else, opened from disk in a real Chromium."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import statedict as sd
from statedict.web.report import bundled
from tests.browser import opened_page
from tests.commands import run
from tests.sample_checkpoints import HOSTILE_NAMES, write_all


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reported")
    write_all(folder)
    return folder


def written(folder: Path, *files: str) -> Path:
    target = folder / f"{'-'.join(files)}.html"
    done = run("report", *(str(folder / file) for file in files), "-o", str(target), "--force")
    assert done.code == 0, done.err
    return target


def test_one_checkpoint_without_a_server(chromium: Any, folder: Path) -> None:
    target = written(folder, "language_whole.pt")
    with opened_page(chromium, target.as_uri()) as (page, looked):
        assert page.locator(".row .label").first.inner_text() == "language_whole.pt"
        page.get_by_role("searchbox").fill("layers.1.mlp.0.weight")
        page.get_by_role("treeitem").first.click()
        page.wait_for_selector(".details .bars")
        weight = sd.open(folder / "language_whole.pt").get_parameter("layers.1.mlp.0.weight").numpy()
        shown = re.search(r"max\s+(\S+)", page.locator(".details").inner_text())
        assert shown is not None
        assert float(shown[1]) == pytest.approx(float(weight.max()), rel=1e-5)
        page.get_by_role("combobox", name="Colour").select_option("rms")
        page.wait_for_selector('.map .legend:has-text("root mean square")')
        assert looked.complaints == []
        assert [each for each in looked.requests if each != target.as_uri() and not each.startswith("data:")] == []


def test_two_checkpoints_with_what_changed(chromium: Any, folder: Path) -> None:
    target = written(folder, "net.pt", "net_whole.pt")
    with opened_page(chromium, target.as_uri()) as (page, looked):
        page.get_by_role("tab", name="Changes").click()
        page.wait_for_selector('.diff:has-text("18 equal bits")')
        assert not page.get_by_role("tab", name="Match").count()
        assert looked.complaints == []


def test_hostile_names_are_inert(chromium: Any, tmp_path: Path) -> None:
    names = ("</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "x" * 10_000, *HOSTILE_NAMES[:5])
    sd.save(sd.open({name: np.ones((2, 2), "f4") for name in names}), tmp_path / "hostile.safetensors")
    target = written(tmp_path, "hostile.safetensors")
    assert b"alert(1)" not in target.read_bytes()
    with opened_page(chromium, target.as_uri()) as (page, looked):
        page.get_by_role("button", name="Unfold all").click()
        text = page.locator("body").inner_text()
        assert "<img src=x onerror=alert(1)>" in text
        assert "\u202e" not in text
        assert "\x1b" not in text
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
        page.get_by_role("searchbox").fill("xxxx")
        page.get_by_role("treeitem").first.click()
        page.wait_for_selector(".details .bars")
        assert looked.complaints == []


@pytest.mark.slow
def test_it_is_small_enough_to_mail_and_always_the_same(folder: Path) -> None:
    rng = np.random.default_rng(0)
    state = {f"layers.{at // 5}.{'abcde'[at % 5]}.weight": rng.normal(size=(64, 64)).astype("f4") for at in range(500)}
    sd.save(sd.open(state), folder / "many.safetensors")
    first = written(folder, "many.safetensors").read_bytes()
    assert len(first) < 2_000_000
    assert written(folder, "many.safetensors").read_bytes() == first


def test_its_policy_allows_its_own_scripts_alone(folder: Path) -> None:
    text = written(folder, "net.pt").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy[1]
    assert "http" not in policy[1]


def test_all_scripts_are_in_it_once_after_what_they_import() -> None:
    text = bundled("report.js")
    assert "import " not in re.sub(r"//.*", "", text)
    assert "export " not in re.sub(r"//.*", "", text)
    order = re.findall(r"^const of_(\w+) = \(", text, re.MULTILINE)
    assert len(order) == len(set(order))
    assert order.index("text") < order.index("tree") < order.index("app") < order.index("report")


def test_how_the_command_ends(folder: Path) -> None:
    target = folder / "once.html"
    assert run("report", str(folder / "net.pt"), "-o", str(target)).out.startswith(f"{target}: ")
    again = run("report", str(folder / "net.pt"), "-o", str(target))
    assert (again.code, "is there already" in again.err) == (2, True)
    other = run("report", str(folder / "net.pt"), "-o", str(folder / "x.pdf"))
    assert (other.code, "does not end in .html" in other.err) == (2, True)
