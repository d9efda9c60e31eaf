"""Which format a file is: told from its bytes, never from its name."""

import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from statedict import formats
from statedict.errors import FormatError, UnknownFormatError
from statedict.limits import DEFAULT_LIMITS
from statedict.source import BytesSource, Folder
from tests.formats.stored import index_of, saved, saved_in_stream
from tests.formats.test_torch_tar import BY_HAND as TAR

TENSORS = {"w": torch.ones(2)}
SAMPLES = {
    "safetensors": safetensors.torch.save(TENSORS),
    "torch": saved(TENSORS),
    "torch legacy": saved_in_stream(TENSORS),
    "torch tar": TAR,
    "pickle": pickle.dumps(TENSORS, 4),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".pkl", ".gguf", ".txt", ""])
@pytest.mark.parametrize("name", SAMPLES)
def test_the_bytes_decide_and_not_the_name(name: str, suffix: str) -> None:
    source = BytesSource(SAMPLES[name], "net" + suffix)
    assert formats.read(source, DEFAULT_LIMITS).format == name


@pytest.mark.parametrize("name", SAMPLES)
def test_one_format_claims_each_file(name: str) -> None:
    source = BytesSource(SAMPLES[name], "net")
    claims = [row.name for row in formats.FORMATS if row.reader().sniff(SAMPLES[name][:512], source)]
    assert claims == [name]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_format_may_be_named(name: str) -> None:
    assert index_of(SAMPLES[name], name).format == name


@pytest.mark.parametrize("named", SAMPLES)
@pytest.mark.parametrize("name", SAMPLES)
def test_the_wrong_format_is_an_error_in_one_line(name: str, named: str) -> None:
    if name != named and (name, named) != ("torch legacy", "pickle"):
        with pytest.raises(FormatError, match=r"^net\.pt: ") as caught:
            index_of(SAMPLES[name], named)
        assert len(str(caught.value).splitlines()) == 1


UNKNOWN = {
    "nothing": (b"", "is empty"),
    "a text": (b"hello world, how are you", "begins with `hello world,`"),
    "noise": (b"\xde\xad\xbe\xef" * 8, "begins with `de ad be ef de ad be ef`"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "a web page": (b"<!doctype html><html>", "web page"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(20), "begins with"),
    "one byte": (b"\xff", "begins with `ff`"),
    "zeros": (bytes(1000), "begins with"),
}


@pytest.mark.parametrize(("data", "text"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_is_no_checkpoint(data: bytes, text: str) -> None:
    with pytest.raises(UnknownFormatError, match=r"^net\.pt: ") as caught:
        index_of(data)
    assert text in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_format_that_is_none() -> None:
    with pytest.raises(UnknownFormatError, match='no format `word`; expected one of "safetensors", '):
        index_of(SAMPLES["torch"], "word")


def test_every_row_names_a_reader() -> None:
    assert len({row.name for row in formats.FORMATS}) == len(formats.FORMATS)
    for row in formats.FORMATS:
        assert callable(row.reader().sniff)
        assert callable(row.reader().read)


@pytest.mark.parametrize("extra", [b"", b"\0", b"more"])
def test_what_follows_a_stream_does_not_matter(extra: bytes) -> None:
    """As in torch, which stops reading at the last storage."""
    data = SAMPLES["torch legacy"] + extra
    assert torch.load(io.BytesIO(data), weights_only=False)["w"].tolist() == [1, 1]
    assert list(index_of(data).tensors) == ["w"]


def test_readers_that_cannot_be_meant_are_not_loaded(tmp_path: Path) -> None:
    """Nor for a safetensors file whose length begins as ONNX, pickle or msgpack do."""
    for number, first in enumerate((0x08, 0x80, 0x88), 1):
        header = json.dumps({f"w{number}": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
        header += b" " * ((first - len(header)) % 256)
        data = len(header).to_bytes(8, "little") + header + b"\1"
        (tmp_path / f"model-{number:05}-of-00003.safetensors").write_bytes(data)
    code = f"""
import sys
import statedict as sd
assert len(list(sd.open({os.fspath(tmp_path)!r}).parameters())) == 0
print(*sorted(name for name in sys.modules if name.startswith("statedict.formats.") and "._" not in name))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["statedict.formats.safetensors", "statedict.formats.sharded"]


FOLDERS = {
    "gguf": ["Model.GGUF"],
    "dcp": [".metadata"],
    "dcp safetensors": ["shard-00001-model-00001-of-00002.safetensors"],
    "orbax": ["manifest.ocdbt", "_METADATA"],
    "folder": ["model.safetensors", "pytorch_model.bin.index.json"],
}


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in FOLDERS.items() for file in files])
def test_a_folder_is_told_from_the_name_of_a_file(name: str, file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"")
    folder = Folder(tmp_path)
    claims = [row.name for row in formats.FORMATS if row.folders and row.reader().sniff(b"", folder)]
    assert claims == [name] == [row.name for row in formats._claims(folder, b"")]
