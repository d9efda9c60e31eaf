"""GGUF in several files, and in folders."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import save_file

import statedict as sd
from statedict.errors import FormatError
from tests.formats.gguf_files import written


class TestSplit:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        writer = GGUFWriter(tmp_path / "model.gguf", "llama", split_max_tensors=2)
        writer.add_token_list(["a", "b"])
        for number in range(5):
            writer.add_tensor(f"blk.{number}.weight", np.full((2, 4), number, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_opening_one_file_joins_all(self, folder: Path, number: int) -> None:
        model = sd.open(folder / f"model-0000{number}-of-00003.gguf")
        assert [name for name, _ in model.named_parameters()] == [f"blk.{number}.weight" for number in range(5)]
        assert [parameter.numpy()[1, 3] for parameter in model.parameters()] == [0, 1, 2, 3, 4]
        assert model.attributes["tokenizer.ggml.tokens"] == ["a", "b"]

    def test_the_folder_is_the_same(self, folder: Path) -> None:
        (folder / "README.md").touch()
        model = sd.open(folder)
        assert [parameter.numpy()[1, 3] for parameter in model.parameters()] == [0, 1, 2, 3, 4]

    def test_a_folder_of_several_names_them(self, folder: Path) -> None:
        shutil.copy(folder / "model-00001-of-00003.gguf", folder / "mmproj-model.gguf")
        with pytest.raises(FormatError, match=r"open one of its files: mmproj-model.gguf, model-00001-of-00003.gguf$"):
            sd.open(folder)

    def test_a_folder_of_other_weights_is_theirs(self, folder: Path) -> None:
        save_file({"w": torch.zeros(2)}, folder / "model.safetensors")
        assert list(sd.open(folder).state_dict()) == ["w"]

    def test_missing_files_are_named(self, folder: Path) -> None:
        (folder / "model-00001-of-00003.gguf").unlink()
        (folder / "model-00003-of-00003.gguf").unlink()
        with pytest.raises(FormatError, match=r"2 are missing: model-00001-of-00003.gguf, model-00003-of-00003.gguf;"):
            sd.open(folder / "model-00002-of-00003.gguf")

    def test_a_file_without_the_name_of_its_split(self, folder: Path) -> None:
        path = (folder / "model-00002-of-00003.gguf").rename(folder / "other.gguf")
        with pytest.raises(FormatError, match=r"part 2 of 3.* NAME-00002-of-00003.gguf"):
            sd.open(path)

    def test_a_file_of_another_split(self, folder: Path) -> None:
        (folder / "model-00002-of-00003.gguf").write_bytes(written({"w": np.zeros(4, np.float32)}))
        with pytest.raises(FormatError, match="another split"):
            sd.open(folder / "model-00001-of-00003.gguf")

    def test_a_tensor_in_two_files(self, folder: Path) -> None:
        data = (folder / "model-00003-of-00003.gguf").read_bytes().replace(b"blk.4.weight", b"blk.0.weight")
        (folder / "model-00003-of-00003.gguf").write_bytes(data)
        with pytest.raises(FormatError, match=r"`blk\.0\.weight` stands twice"):
            sd.open(folder / "model-00001-of-00003.gguf")
