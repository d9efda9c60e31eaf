"""ONNX whose values lie in files beside it."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import statedict as sd
from statedict import formats
from statedict.errors import FormatError, ReadError
from statedict.index import Index
from statedict.limits import DEFAULT_LIMITS
from statedict.source import FileSource
from statedict.tree.reading import read
from tests.formats.onnx_models import with_initializers
from tests.formats.stored import index_of


class TestExternalData:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        tensors = [numpy_helper.from_array(np.full((40, 40), number, np.float32), f"w{number}") for number in range(3)]
        model = onnx.load_from_string(with_initializers(*tensors))
        onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.onnx.data")
        return tmp_path / "net.onnx"

    def index(self, path: Path) -> Index:
        return formats.read(FileSource(path), DEFAULT_LIMITS)

    def test_lies_in_the_file_beside(self, path: Path) -> None:
        index = self.index(path)
        assert [read(info)[39, 39] for info in index.tensors.values()] == [0, 1, 2]
        assert {info.extent.source.name for info in index.tensors.values() if info.extent} == {str(path) + ".data"}
        assert len({id(info.extent.source) for info in index.tensors.values() if info.extent}) == 1, "opened once"

    def test_a_missing_file_is_named(self, path: Path) -> None:
        path.with_name("net.onnx.data").unlink()
        with pytest.raises(ReadError, match=r"net\.onnx: tensor `w0` lies in the file `net\.onnx\.data` beside it"):
            self.index(path)

    def test_a_truncated_file_is_refused(self, path: Path) -> None:
        os.truncate(f"{path}.data", 4096)
        with pytest.raises(FormatError, match=r"`w0`.*net\.onnx\.data has 4,096"):
            self.index(path)

    @pytest.mark.parametrize("location", ["../net.bin", "/etc/passwd", "sub/net.bin", "..", ".", "", "a\0b", "x" * 300])
    def test_a_file_elsewhere_is_refused(self, tmp_path: Path, location: str) -> None:
        proto = self.proto(location=location)
        (tmp_path / "net.onnx").write_bytes(with_initializers(proto))
        with pytest.raises(FormatError, match=r"another folder, which is not followed|which is no name"):
            self.index(tmp_path / "net.onnx")

    @pytest.mark.parametrize(
        "said", [{"offset": "-4"}, {"offset": "x"}, {"length": "3"}, {"offset": "9" * 5000}, {"offset": str(2**63)}]
    )
    def test_a_place_that_is_none_is_refused(self, tmp_path: Path, said: dict[str, str]) -> None:
        (tmp_path / "data.bin").write_bytes(bytes(64))
        (tmp_path / "net.onnx").write_bytes(with_initializers(self.proto(location="data.bin", **said)))
        with pytest.raises(FormatError, match="`w`") as caught:
            self.index(tmp_path / "net.onnx")
        assert len(str(caught.value)) < 600

    def test_offset_and_length_may_be_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "data.bin").write_bytes(np.array([1, 2, 3], np.float32).tobytes())
        (tmp_path / "net.onnx").write_bytes(with_initializers(self.proto(location="data.bin")))
        np.testing.assert_array_equal(read(self.index(tmp_path / "net.onnx").tensors["w"]), [1, 2])

    def test_bytes_have_no_files_beside_them(self) -> None:
        with pytest.raises(FormatError, match="only a file in a folder has others beside it"):
            index_of(with_initializers(self.proto(location="data.bin")))

    def proto(self, **said: str) -> TensorProto:
        proto = TensorProto(name="w", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
        for key, value in said.items():
            proto.external_data.add(key=key, value=value)
        return proto


@pytest.mark.slow
def test_a_file_of_more_than_2_gib(tmp_path: Path) -> None:
    """Protobuf's own readers refuse it. The file is sparse: it takes no room."""

    def varint(value: int) -> bytes:
        out = b""
        while value >> 7:
            out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
        return out + bytes([value])

    size = 3 << 30
    tensor = b"\x08" + varint(size) + b"\x10\x02\x42\x01w\x4a" + varint(size)
    graph = b"\x2a" + varint(len(tensor) + size) + tensor
    head = b"\x08\x0a\x3a" + varint(len(graph) + size) + graph
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.write(head)
        file.seek(size - 1, os.SEEK_CUR)
        file.write(b"\x07\x42\x02\x10\x15")
    model = sd.open(tmp_path / "huge.onnx")
    assert model.get_parameter("w").shape == (size,)
    assert model.get_parameter("w")[-1].item() == 7
