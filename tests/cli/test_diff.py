"""`statedict diff`: exit codes, what it prints, and `git diff` by it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.commands import on_terminal, run
from tests.ops.diff.models import weights


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three checkpoints: two of the same values in two formats, and one that was trained on."""
    monkeypatch.chdir(tmp_path)
    old = weights()
    save_file(old, "a.safetensors")
    torch.save(old, "same.pt")
    new = dict(old)
    new["layers.1.up.weight"] = old["layers.1.up.weight"] + 0.01 * torch.randn(96, 2) @ torch.randn(2, 160)
    new["head.weight"] = torch.ones(3, 2)
    save_file(new, "b.safetensors", {"step": "7"})
    return tmp_path


def test_exit_codes(folder: Path) -> None:
    assert run("diff", "a.safetensors", "same.pt").code == 0
    assert run("diff", "a.safetensors", "b.safetensors").code == 1
    assert run("diff", "a.safetensors", "b.safetensors", "norm.*").code == 0
    assert run("diff", "a.safetensors", "missing.pt").code == 2
    assert run("diff", "missing.pt", "a.safetensors").code == 2
    assert run("diff", "a.safetensors").code == 2
    assert run("diff", "a.safetensors", "b.safetensors", "nothing").code == 2
    assert run("diff", "a.safetensors", "b.safetensors", "--exact", "--atol", "1").code == 2


def test_tolerances(folder: Path) -> None:
    a, b = torch.ones(50), torch.ones(50) + 1e-3
    save_file({"w": a}, "c.safetensors")
    save_file({"w": b}, "d.safetensors")
    assert [
        run("diff", "c.safetensors", "d.safetensors", *more).code
        for more in ([], ["--atol", "0.01"], ["--rtol", "1e-4"], ["--rtol", "1e-2"])
    ] == [1, 0, 1, 0]


def test_what_moved_is_seen_at_a_glance(folder: Path) -> None:
    lines = run("diff", "a.safetensors", "b.safetensors").out.splitlines()
    (changed,) = (line for line in lines if "up.weight" in line)
    assert "LoRA-like, rank 2" in changed
    assert any(line.startswith("+") and "[3, 2]" in line for line in lines)
    assert any("metadata.step" in line and '"7"' in line for line in lines)
    assert any("2 tensors: equal bits" in line and "0" in line.split() for line in lines)
    assert "1 added" in lines[-2]


@pytest.mark.parametrize("columns", [40, 80, 100, 140])
def test_every_line_fits(folder: Path, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch, columns)
    assert all(len(line) <= columns for line in run("diff", "a.safetensors", "b.safetensors").out.splitlines())


def test_json(folder: Path) -> None:
    found = json.loads(run("diff", "a.safetensors", "b.safetensors", "--json").out)
    assert (found["same"], found["added"], found["a"]) == (False, 1, "a.safetensors")
    assert found["described"] == [{"name": "metadata.step", "before": None, "after": "7"}]
    rows = {row["name"]: row for row in found["tensors"]}
    assert rows.keys() == {"layers.1.up.weight", "head.weight"}
    assert rows["layers.1.up.weight"]["kinds"][0]["rank"] == 2
    same = json.loads(run("diff", "a.safetensors", "same.pt", "--json").out)
    assert (same["same"], same["values"], same["tensors"]) == (True, {"equal bits": 6}, [])


def test_names_only_says_that_nothing_was_read(folder: Path) -> None:
    save_file({name: value + 1 for name, value in weights().items()}, "c.safetensors")
    ran = run("diff", "a.safetensors", "c.safetensors", "--names-only")
    assert ran.code == 0
    assert "no values read" in ran.out
    assert "identical" not in ran.out


def test_top_lists_what_changed_most(folder: Path) -> None:
    old = weights()
    save_file({name: value * (1 + 0.1 * at) for at, (name, value) in enumerate(old.items())}, "c.safetensors")
    lines = run("diff", "a.safetensors", "c.safetensors", "--top", "2").out.splitlines()
    assert [line.split()[1] for line in lines[1:3]] == ["head.bias", "norm.weight"]


def test_a_part_of_each(folder: Path) -> None:
    torch.save({"model": weights(), "epoch": 3}, "train.pt")
    assert run("diff", "a.safetensors", "train.pt").code == 1
    assert run("diff", "train.pt", "train.pt", "--key", "model").code == 0
    assert run("diff", "a.safetensors", "train.pt", "--key-b", "model").code == 0
    save_file({"module." + name: value for name, value in weights().items()}, "wrapped.safetensors")
    assert run("diff", "a.safetensors", "wrapped.safetensors").code == 1
    assert run("diff", "a.safetensors", "wrapped.safetensors", "--strip").code == 0


def git(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {
        "PATH": os.pathsep.join([os.fspath(Path(sys.executable).parent), os.environ["PATH"]]),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_PAGER": "cat",
    }
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.skipif(shutil.which("statedict", path=os.fspath(Path(sys.executable).parent)) is None, reason="installed")
def test_git_shows_what_changed(folder: Path) -> None:
    """A model that is changed, added, renamed and removed, as the guide sets it up; and as text by `textconv`."""
    git(folder, "init", "-q")
    (folder / ".gitattributes").write_text("*.safetensors diff=statedict\n*.pt diff=statedict\n")
    git(folder, "config", "diff.statedict.command", "statedict diff --git")
    (folder / "b.safetensors").rename(folder / "later")
    git(folder, "add", ".gitattributes", "a.safetensors")
    git(folder, "commit", "-qm", "first")
    shutil.copy(folder / "later", folder / "a.safetensors")
    shown = git(folder, "diff")
    assert shown.startswith("a/a.safetensors → b/a.safetensors\n")
    assert "LoRA-like, rank 2" in shown
    git(folder, "mv", "-f", "a.safetensors", "moved.safetensors")
    git(folder, "add", "moved.safetensors")
    staged = git(folder, "diff", "--cached", "--no-renames")
    assert "7 added" in staged
    assert "6 removed" in staged
    assert "a/a.safetensors → b/moved.safetensors" in git(folder, "diff", "--cached", "-M20%")
    git(folder, "config", "--unset", "diff.statedict.command")
    git(folder, "config", "diff.statedict.textconv", "statedict stats")
    git(folder, "commit", "-qm", "second")
    assert "+head.weight" in git(folder, "diff", "HEAD~", "HEAD", "-M20%")
    git(folder, "config", "diff.statedict.textconv", "statedict hash")
    changed = [line for line in git(folder, "log", "-p", "-1", "-M20%").splitlines() if line[:1] in ("+", "-")]
    assert {line.split()[-1] for line in changed if "blake3:" in line} == {"layers.1.up.weight", "head.weight"}


def test_git_is_told_how_it_is_used() -> None:
    ran = run("diff", "--git", "a", "b")
    assert ran.code == 2
    assert "git config diff.statedict.command 'statedict diff --git'" in ran.err
