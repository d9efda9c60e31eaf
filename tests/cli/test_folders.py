"""The command line over what is no plain file of weights: folders, wrappers' prefixes, optimizers' states."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.commands import run
from tests.sample_checkpoints import write_all


def test_a_folder_and_a_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    safetensors.torch.save_file({"a.weight": torch.ones(2, 3)}, tmp_path / "unet" / "model.safetensors")
    assert "a.weight" in run("ls", str(tmp_path / "unet")).out
    assert "a.weight" in run("ls", str(tmp_path), "--key", "unet").out
    size = (tmp_path / "unet" / "model.safetensors").stat().st_size
    assert f"in unet (folder, {size} B)" in run("tree", str(tmp_path), "--key", "unet").out
    refused = run("ls", str(tmp_path))
    assert refused.code == 2
    assert f"open `{tmp_path}/unet`" in refused.err


@pytest.mark.parametrize("command", [["tree"], ["ls"], ["show"]])
def test_strip(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "net.pt"
    torch.save({"module._orig_mod.fc.weight": torch.ones(2, 3)}, path)
    wrapped, stripped = (run(*command, str(path), *option).out for option in ([], ["--strip"]))
    assert "_orig_mod" in wrapped or "─ module" in wrapped
    assert "fc" in stripped
    assert "_orig_mod" not in stripped
    assert "─ module" not in stripped


def test_strip_names_what_collides(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"fc._orig_mod.weight": torch.ones(2), "fc.weight": torch.ones(2)}, path)
    refused = run("ls", str(path), "--strip")
    assert refused.code == 2
    assert "`fc.weight` and `fc._orig_mod.weight`" in refused.err


def test_an_optimizers_states_are_named_after_their_parameters(tmp_path: Path) -> None:
    write_all(tmp_path)
    path = str(tmp_path / "train.ckpt")
    assert "of features.0.weight  step []" in run("tree", path, "optimizer.**", "--unfold").out
    assert '"of": "features.0.weight"' in run("ls", path, "optimizer.state.0.exp_avg", "--json").out
    shown = run("show", path, "optimizer.state.0.exp_avg").out
    assert "features.0.weight" in shown
    assert '"of": "features.0.weight"' in run("show", path, "optimizer.state.0.exp_avg", "--json").out
