"""`statedict check`: what is printed, and how it ends."""

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch

from tests.commands import run
from tests.corpus import archives


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sound model, and one with a fault of each severity."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    state = {f"{name}.weight": torch.randn(40, 16) for name in "abc"}
    torch.save(state, "sound.pt")
    state["a.weight"][3] = 0
    state["b.weight"].zero_()
    state["c.weight"][0, 0] = math.nan
    torch.save({**state, "m": torch.ones(1, device="meta")}, "ill.pt")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_sound_model() -> None:
    ran = run("check", "sound.pt")
    assert (ran.code, ran.out) == (0, "sound.pt: code safe, 3 tensors checked, nothing found\n")


@pytest.mark.usefixtures("folder")
def test_findings_with_what_to_do() -> None:
    ran = run("check", "ill.pt")
    lines = ran.out.splitlines()
    assert ran.code == 1
    assert lines[0].startswith("error nan: go back to a checkpoint")
    assert lines[1] == "  c.weight: 1 of 640 elements are NaN"
    assert lines[2].startswith("warning zeros: it was never trained")
    assert lines[3] == "  b.weight: it holds nothing but zeros (640)"
    assert lines[4] == "ill.pt: code safe, 3 tensors checked, 1 error, 1 warning, 1 note; `--level note` shows all"
    assert lines[5].startswith("left out: tensor `m` was saved from the meta device")
    assert len(lines) == 6
    assert "note dead: " in run("check", "ill.pt", "--level", "note").out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["a.*"], 0),
        (["a.*", "--level", "note"], 1),
        (["b.*"], 1),
        (["b.*", "--level", "error"], 0),
        (["c.*", "--level", "error"], 1),
        (["c.*", "--skip", "nan"], 0),
        (["--only", "ties", "--only", "outlier"], 0),
    ],
)
@pytest.mark.usefixtures("folder")
def test_the_exit_code_is_that_of_the_level(arguments: list[str], code: int) -> None:
    assert run("check", "ill.pt", *arguments).code == code


@pytest.mark.usefixtures("folder")
def test_json_has_all_findings() -> None:
    ran = run("check", "ill.pt", "--json", "--level", "error")
    found = json.loads(ran.out)
    assert ran.code == 1
    assert {key: found[key] for key in ("file", "tensors", "error", "warning", "note")} == {
        "file": "ill.pt", "tensors": 3, "error": 1, "warning": 1, "note": 1,
    }  # fmt: skip
    assert [(each["check"], each["where"], each["severity"]) for each in found["findings"]] == [
        ("nan", "c.weight", "error"), ("zeros", "b.weight", "warning"), ("dead", "a.weight", "note"),
    ]  # fmt: skip
    assert found["findings"][2]["evidence"] == {"axis": "rows", "count": 1, "size": 40, "indices": [3]}
    assert list(found["skipped"]) == ["m"]


@pytest.mark.usefixtures("folder")
def test_many_findings_of_one_kind_are_cut() -> None:
    torch.save({f"{at}.weight": torch.full((3, 3), math.nan) for at in range(30)}, "many.pt")
    lines = run("check", "many.pt").out.splitlines()
    assert len(lines) == 23
    assert lines[21] == "  … and 10 more; `--json` has them all"
    assert len(json.loads(run("check", "many.pt", "--json").out)["findings"]) == 30


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "nans"], "`nans` is no check; closest: `nan`"),
        (["--if-cast", "int8"], "`int8` is no floating-point type"),
        (["--if-cast", "f17"], "`f17` is no element type"),
        (["--level", "bad"], "'bad' is not one of"),
        (["d.*"], "`d.*` matches no name"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_wrong_use(arguments: list[str], said: str) -> None:
    ran = run("check", "ill.pt", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file that would run something, one that is broken, and one that is sound."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pt").write_bytes(archives.torch_zip())
    torch.save({"a.weight": torch.ones(3, 3)}, "sound.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "sound.pt").read_bytes()[:-40])
    return tmp_path


@pytest.mark.usefixtures("strangers")
def test_what_would_be_run_is_told_and_not_run() -> None:
    ran = run("check", "evil.pt")
    assert ran.code == 1
    assert "error code: do not load it with torch" in ran.out
    assert "evil.pt: archive/data.pkl: os.system('touch statedict-was-here') runs programs, and reads" in ran.out
    assert ran.out.endswith("evil.pt: code dangerous, 1 file checked, 1 error\n")
    assert not Path("statedict-was-here").exists()


@pytest.mark.usefixtures("strangers")
def test_a_file_that_cannot_be_read_is_a_finding() -> None:
    ran = run("check", "cut.pt")
    assert (ran.code, ran.err) == (1, "")
    assert "cut.pt: a zip archive without its directory" in ran.out


@pytest.mark.usefixtures("strangers")
def test_every_file_of_a_folder() -> None:
    found = json.loads(run("check", ".", "--json").out)
    assert found["grade"] == "dangerous"
    assert {each["where"].partition(":")[0] for each in found["findings"] if each["severity"] == "error"} == {
        "evil.pt", "cut.pt",
    }  # fmt: skip


@pytest.mark.usefixtures("strangers")
def test_a_file_that_is_no_checkpoint_is_wrong_use() -> None:
    Path("notes.txt").write_text("nothing")
    assert run("check", "notes.txt").code == 2
    assert run("check", "missing.pt").code == 2


@pytest.mark.usefixtures("strangers")
def test_sarif() -> None:
    ran = run("check", "evil.pt", "--sarif")
    (told,) = json.loads(ran.out)["runs"]
    assert ran.code == 1
    assert told["tool"]["driver"]["rules"][0]["id"] == "code"
    (result,) = told["results"]
    assert (result["level"], result["ruleId"], result["ruleIndex"]) == ("error", "code", 0)
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "evil.pt"
    assert result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "archive/data.pkl"
    assert run("check", "evil.pt", "--sarif", "--json").code == 2


@pytest.mark.usefixtures("folder")
def test_sarif_of_numbers_names_the_file_and_the_tensor() -> None:
    (told,) = json.loads(run("check", "ill.pt", "--sarif").out)["runs"]
    place = told["results"][0]["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "ill.pt"
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "c.weight"


@pytest.mark.usefixtures("strangers")
def test_manifests() -> None:
    digest = hashlib.sha256(Path("sound.pt").read_bytes()).hexdigest()
    Path("SHA256SUMS").write_text(f"{digest}  sound.pt\n{'0' * 64} *evil.pt\n{digest}  gone.pt\n")
    ran = run("check", "sound.pt", "--manifest", "SHA256SUMS", "--only", "code")
    assert ran.code == 1
    assert "evil.pt: has the sha256 " in ran.out
    assert "gone.pt: is listed, but is not there" in ran.out
    assert "  sound.pt:" not in ran.out
    assert run("hash", "sound.pt", "--manifest", "m.json").code == 0
    assert run("check", "sound.pt", "--manifest", "m.json").code == 1  # its numbers are all the same
    assert run("check", "sound.pt", "--manifest", "m.json", "--only", "integrity").code == 0
    torch.save({"a.weight": torch.zeros(3, 3)}, "sound.pt")
    ran = run("check", "sound.pt", "--manifest", "m.json", "--only", "integrity")
    assert (ran.code, "a.weight: is not as the manifest has it" in ran.out) == (1, True)
    assert run("check", "sound.pt", "--manifest", "evil.pt").code == 2
