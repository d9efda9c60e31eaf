"""Gaps, overlaps and bytes behind the last tensor; none in what libraries write."""

import io

import numpy as np
import pytest
from safetensors.numpy import save

from statedict.checking import check
from statedict.ops.check.structure.layouts import safetensors_oddities
from statedict.source import BytesSource
from tests.corpus import models


def kinds(data: bytes) -> list[str]:
    return [each.evidence["kind"] for each in safetensors_oddities(BytesSource(data), "x")]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("safetensors with a gap", "gap"),
        ("safetensors that overlap", "overlap"),
        ("safetensors with more behind", "trailing"),
    ],
)
def test_each_is_told(name: str, kind: str) -> None:
    assert kinds(models.BROKEN[name][1]()) == [kind]


def test_nothing_is_told_of_what_the_library_writes() -> None:
    data = save({"a": np.ones((2, 3), "f4"), "b": np.zeros(0, "f2"), "c": np.zeros(1, "u1")}, {"x": "y"})
    assert kinds(data) == []
    assert kinds(b"") == kinds(b"x" * 50) == []
    assert kinds(data.replace(b'{"__', b' {"_')) == ["header"]


def test_bytes_behind_an_array() -> None:
    file = io.BytesIO()
    np.save(file, np.arange(4.0))
    assert check(file.getvalue(), only=["structure", "readable"]).findings == ()
    (found,) = check(file.getvalue() + b"PK\x03\x04xxxx", only=["structure", "readable"]).findings
    assert (found.severity, found.evidence["kind"]) == ("error", "trailing")
    assert found.what == "has 8 bytes behind its last tensor, which begin as a zip archive does"
