"""The caps: frozen values that no real checkpoint reaches."""

import dataclasses
import gzip
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import statedict
from statedict.checking import check
from statedict.errors import LimitError
from statedict.limits import DEFAULT_LIMITS, Limits
from tests.commands import run
from tests.corpus import archives, models


def test_they_are_a_value() -> None:
    assert Limits() == DEFAULT_LIMITS
    assert hash(Limits(names=3)) == hash(Limits(names=3))
    assert Limits(names=3) != DEFAULT_LIMITS
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT_LIMITS.names = 5  # type: ignore[misc]


def test_the_largest_models_that_exist_fit() -> None:
    assert DEFAULT_LIMITS.names >= 10 * 720_000, "DeepSeek-V3 has some 90,000 tensors, with optimizer states 720,000"
    assert DEFAULT_LIMITS.header_bytes >= 100 * 2**20, "the safetensors format's own limit"
    assert DEFAULT_LIMITS.depth >= 100


def _pt(name: str, data: bytes = b"\x80\x02}.") -> bytes:
    return archives.zipped((f"{name}/data.pkl", data), (f"{name}/version", b"3\n"))


def _expanded() -> bytes:
    file = io.BytesIO()
    torch.save({"a": torch.zeros(1).expand(1 << 20, 1 << 20)}, file)
    return file.getvalue()


def _deflated() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", models.npy(bytes(40 << 20), "|u1"))
    return file.getvalue()


REFUSED = {
    "header_bytes": (lambda: models.safetensors({"x" * 100: models._tensor(0, 1)}, b"x"), {"header_bytes": 50}),
    "names": (lambda: models.safetensors({"a": models._tensor(0, 1), "b": models._tensor(1, 2)}, b"xx"), {"names": 1}),
    "name_bytes": (lambda: models.safetensors({"x" * 100: models._tensor(0, 1)}, b"x"), {"name_bytes": 50}),
    "depth": (lambda: models.safetensors({"x" + ".x" * 100: models._tensor(0, 1)}, b"x"), {"depth": 50}),
    "members": (lambda: _pt("a"), {"members": 1}),
    "expanded_bytes": (_expanded, {}),
    "ratio": (_deflated, {"ratio": 2}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_refuses_by_its_name_and_can_be_raised(name: str) -> None:
    make, limits = REFUSED[name]
    data = make()
    with pytest.raises(LimitError, match=f"`Limits.{name}`"):
        statedict.open(data, limits=Limits(**limits))
    statedict.open(data, limits=Limits(**{name: 1 << 50}))


@pytest.mark.parametrize(
    ("name", "make", "limits"),
    [
        ("opcodes", lambda: pickle.dumps(list(range(1000))), {"opcodes": 100}),
        ("nested", lambda: archives.zipped(("a.zip", archives.zipped(("b.zip", _pt("a"))))), {"nested": 1}),
        ("ratio", lambda: gzip.compress(b"\x80\x02" + bytes(40 << 20), mtime=0), {"ratio": 3}),
        ("unpacked_bytes", lambda: gzip.compress(b"\x80\x02" + bytes(40 << 20), mtime=0), {"unpacked_bytes": 1 << 20}),
    ],
)
def test_what_check_refuses_is_a_finding(name: str, make: Callable[[], bytes], limits: dict[str, int]) -> None:
    report = check(make(), only=["code"], limits=Limits(**limits))
    assert any(f"`Limits.{name}`" in each.what for each in report.findings)
    assert not any(f"`Limits.{name}`" in each.what for each in check(make(), only=["code"]).findings)


def test_they_are_raised_by_text() -> None:
    assert DEFAULT_LIMITS.raised("") == DEFAULT_LIMITS
    assert DEFAULT_LIMITS.raised("depth=7, header_bytes=2**30") == Limits(depth=7, header_bytes=1 << 30)
    for wrong in ("deep=7", "depth", "depth=-1", "depth=x", "depth=9**99", "depth=" + "9" * 30, "=3"):
        with pytest.raises(ValueError, match="raises no limit; expected NAME=NUMBER"):
            DEFAULT_LIMITS.raised(wrong)


def test_commands_take_them_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "deep.safetensors"
    file.write_bytes(models.safetensors({"x" + ".x" * 300: models._tensor(0, 1)}, b"x"))
    assert "`Limits.depth` allows 200" in run("ls", str(file)).err
    assert "`Limits.depth` allows 200" in run("check", str(file)).out
    monkeypatch.setenv("STATEDICT_LIMITS", "depth=400")
    assert run("ls", str(file)).code == 0
    monkeypatch.setenv("STATEDICT_LIMITS", "deep=400")
    assert "`deep=400` raises no limit" in run("ls", str(file)).err
