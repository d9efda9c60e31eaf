"""No false alarm: what nobody means harm with is never called dangerous."""

import os
from pathlib import Path

import pytest

from statedict.errors import StatedictError
from statedict.limits import DEFAULT_LIMITS
from statedict.ops.check.code.places import look
from statedict.ops.check.files import check_files
from statedict.source import FileSource
from tests import real_models
from tests.corpus import benign
from tests.corpus.opcodes import SYSTEM, pickled
from tests.real_models import RealModel

UNKNOWN = {"sklearn.joblib"}
"""Models of classes that are on no list."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in benign.WRITERS if name != "lightning"])
@pytest.mark.filterwarnings("ignore")
def test_what_libraries_write(name: str, tmp_path: Path) -> None:
    benign.WRITERS[name](tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        found = check_files(FileSource(path), ("code", "structure", "integrity"), DEFAULT_LIMITS)
        if path.name in UNKNOWN:
            assert found.grade == "unknown"
        else:
            assert (found.grade, found.findings) == ("safe", []), path


@pytest.mark.parametrize("model", real_models.models())
def test_real_models(model: RealModel) -> None:
    found = check_files(FileSource(model.fetch()), ("code", "structure", "integrity"), DEFAULT_LIMITS)
    assert found.grade == "safe"
    assert [each for each in found.findings if each.severity != "note"] == []


def test_a_file_that_is_read_a_piece_at_a_time(tmp_path: Path) -> None:
    """A payload behind 300 MiB of nothing, with no more than a little of it in memory."""
    path = tmp_path / "x.pkl"
    size = 300 << 20
    with path.open("wb") as file:
        file.write(b"\x80\x04\x8e" + size.to_bytes(8, "little"))
        file.seek(size, os.SEEK_CUR)
        file.write(b"0" + pickled(SYSTEM)[2:])
    (act,) = look(FileSource(path), DEFAULT_LIMITS).acts
    assert act.grade == "dangerous"


def test_a_bomb_in_a_bomb_ends() -> None:
    import gzip

    data = pickled(SYSTEM)
    for _ in range(20):
        data = gzip.compress(data, mtime=0)
    from statedict.source import BytesSource

    try:
        found = look(BytesSource(data, "x.gz"), DEFAULT_LIMITS)
    except StatedictError as error:  # pragma: no cover - it is told, and not raised
        raise AssertionError from error
    assert [act.reason for act in found.acts] == ["lies deeper than `Limits.nested` (8) allows to look"]
