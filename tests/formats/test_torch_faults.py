"""What fuzzing found in the readers of PyTorch's files, each by the name of what was wrong."""

import io
import zipfile

import pytest
import torch

import statedict
from statedict.errors import FormatError, LimitError
from tests.corpus import archives
from tests.formats.hostile import text, wrapped


def _state_dict() -> bytes:
    file = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2).state_dict(), file)
    return file.getvalue()


def test_a_key_of_a_state_dict_that_is_no_text() -> None:
    """Beside `_metadata`, whose names were compared with the keys as if all were texts."""
    data = _state_dict()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = next(at for at, (name, _) in enumerate(members) if name.endswith("data.pkl"))
    name, pickled = members[at]
    members[at] = (name, pickled.replace(b"X\x04\x00\x00\x00bias", b"K\x07"))
    assert members[at][1] != pickled
    model = statedict.open(archives.zipped(*members))
    assert [name for name, _ in model.named_parameters()] == ["weight", "7"]


def test_an_archive_that_lacks_what_its_format_must_have() -> None:
    with pytest.raises(
        FormatError, match=r"the archive lacks `archive/constants\.pkl`; it is damaged, or of another kind"
    ):
        statedict.open(archives.torch_zip(wrapped(text("x"))), format="torchscript")


def test_a_member_that_unpacks_to_more_than_it_can() -> None:
    with pytest.raises(LimitError, match=r"says that its [0-9,]+ bytes unpack to 2,147,483,647; `Limits\.ratio`"):
        statedict.open(archives.BROKEN["a zip bomb"][1]())
