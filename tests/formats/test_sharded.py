"""Folders of weights: by hand, by safetensors and torch, and as transformers writes them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import statedict as sd
from statedict.errors import FormatError, LimitError, UnknownFormatError
from statedict.formats import sharded
from statedict.index import Index
from statedict.limits import Limits
from statedict.opening import read_index
from tests.formats.stored import assert_same_tensors

TENSORS = {f"layers.{number}.weight": torch.full((2, 3), float(number)) for number in range(4)}


def write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(tensors, path)
    else:
        torch.save(tensors, path)


def shards(folder: Path, suffix: str = ".safetensors", stem: str = "model", first: int = 1) -> list[Path]:
    """Two shards of `TENSORS`, without an index."""
    names = list(TENSORS)
    paths = [folder / f"{stem}-{number:05}-of-00002{suffix}" for number in (first, first + 1)]
    for path, held in zip(paths, (names[:2], names[2:]), strict=True):
        write(path, {name: TENSORS[name] for name in held})
    return paths


def indexed(folder: Path, suffix: str = ".safetensors", **changes: str) -> Path:
    """Two shards of `TENSORS` with their index, of which some entries are changed."""
    first, second = shards(folder, suffix)
    owners = {name: (first if at < 2 else second).name for at, name in enumerate(TENSORS)}
    path = folder / f"model{suffix}.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 96}, "weight_map": owners | changes}))
    return path


def assert_whole(index: Index) -> None:
    assert index.format == "folder"
    assert_same_tensors(index, TENSORS)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt"])
def test_shards_with_and_without_an_index(tmp_path: Path, suffix: str) -> None:
    shards(tmp_path, suffix)
    assert_whole(read_index(tmp_path))
    path = indexed(tmp_path, suffix)
    assert_whole(read_index(tmp_path))
    assert_whole(read_index(path))
    assert read_index(tmp_path).metadata["total_size"] == 96


def test_shards_may_count_from_0(tmp_path: Path) -> None:
    shards(tmp_path, first=0)
    assert_whole(read_index(tmp_path))


def test_a_single_file_and_its_configs(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", TENSORS)
    torch.save({"state": {}}, tmp_path / "optimizer.pt")
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": 3}')
    assert_whole(read_index(tmp_path))
    assert sd.open(tmp_path).config == {"model_type": "bert", "hidden_size": 3}


def test_an_adapter_folder(tmp_path: Path) -> None:
    write(tmp_path / "adapter_model.safetensors", TENSORS)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8}')
    assert_whole(read_index(tmp_path))
    assert sd.open(tmp_path).peft_config["r"] == 8


def test_safetensors_come_first_and_indexes_before_loose_files(tmp_path: Path) -> None:
    indexed(tmp_path)
    write(tmp_path / "pytorch_model.bin", {"other": torch.zeros(1)})
    write(tmp_path / "training_args.bin", {"other": torch.zeros(1)})
    assert_whole(read_index(tmp_path))


def test_a_variant_has_an_index_of_its_own_form(tmp_path: Path) -> None:
    path = indexed(tmp_path)
    path.rename(tmp_path / "model.safetensors.index.fp16.json")
    assert_whole(read_index(tmp_path))


def refused(path: Path, *parts: str, limits: Limits | None = None) -> None:
    with pytest.raises(FormatError) as caught:
        read_index(path, limits=limits or Limits())
    assert len(str(caught.value).splitlines()) == 1
    for part in (str(path), *parts):
        assert part in str(caught.value)


def test_missing_shards_are_named(tmp_path: Path) -> None:
    first, second = shards(tmp_path)
    first.unlink()
    refused(tmp_path, "of the 2 shards of `model.safetensors` these are missing: 1;")
    shutil.copy(second, first)
    indexed(tmp_path)
    second.unlink()
    refused(tmp_path, "1 are missing: model-00002-of-00002.safetensors;")


def test_a_count_beyond_reason_is_no_loop(tmp_path: Path) -> None:
    write(tmp_path / f"model-1-of-{'9' * 200}.safetensors", TENSORS)
    refused(tmp_path, "fetch the others")


def test_shards_of_two_sets_are_told_apart(tmp_path: Path) -> None:
    first, _ = shards(tmp_path)
    shutil.copy(first, tmp_path / "model-00001-of-00003.safetensors")
    refused(tmp_path, "`model-00001-of-00002.safetensors`", "`model-00001-of-00003.safetensors`", "not of one set")


def test_a_tensor_in_two_shards_is_named_with_both(tmp_path: Path) -> None:
    _, second = shards(tmp_path)
    write(second, dict(list(TENSORS.items())[1:]))
    refused(tmp_path, "`layers.1.weight`", "`model-00001-of-00002.safetensors`", "`model-00002-of-00002.safetensors`")


def test_what_the_index_misplaces_is_named(tmp_path: Path) -> None:
    indexed(tmp_path, **{"layers.9.weight": "model-00001-of-00002.safetensors"})
    refused(tmp_path, "`model-00001-of-00002.safetensors` holds `layers.9.weight`, but it does not")


def test_surplus_shards_and_tensors_are_named(tmp_path: Path) -> None:
    indexed(tmp_path)
    write(tmp_path / "model-00003-of-00002.safetensors", {"x": torch.zeros(1)})
    write(tmp_path / "model-00002-of-00002.safetensors", dict(list(TENSORS.items())[2:]) | {"y": torch.zeros(1)})
    index = read_index(tmp_path)
    assert_whole(index)
    assert index.metadata["surplus"] == ["model-00002-of-00002.safetensors: y", "model-00003-of-00002.safetensors"]


def test_several_checkpoints_are_listed(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        write(tmp_path / name, TENSORS)
    refused(tmp_path, "several checkpoints", "a.pt, b.pt")


def test_weights_in_folders_of_the_folder(tmp_path: Path) -> None:
    for name in ("unet", "vae"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "diffusion_pytorch_model.safetensors", TENSORS)
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    refused(tmp_path, f"open `{tmp_path}/unet`, `{tmp_path}/vae`, or name it as key")
    assert_whole(read_index(tmp_path / "unet"))
    assert list(sd.open(tmp_path, key="unet").state_dict()) == list(TENSORS)
    assert sd.open(tmp_path, key="vae.layers.2").state_dict().keys() == {"weight"}
    with pytest.raises(UnknownFormatError):
        sd.open(tmp_path, key="nothing")
    with pytest.raises(UnknownFormatError):
        sd.open(tmp_path, key="..")


def test_a_folder_without_weights_says_what_it_holds(tmp_path: Path) -> None:
    refused(tmp_path, "it holds nothing")
    (tmp_path / "notes.txt").write_text("")
    refused(tmp_path, "it holds `notes.txt`")


def test_one_file_of_another_format_is_the_folders(tmp_path: Path) -> None:
    kernel: Any = np.ones((2, 3), "f4")
    np.savez(tmp_path / "weights.npz", **{"layer.kernel": kernel})
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    model = sd.open(tmp_path)
    assert model.get_parameter("layer.kernel").numpy().tolist() == [[1.0] * 3] * 2
    assert model.attributes["config"] == {"model_type": "bert"}
    safetensors.torch.save_file({"w": torch.ones(1)}, tmp_path / "model.safetensors")
    assert list(sd.open(tmp_path).state_dict()) == ["w"]


HOSTILE: dict[str, Any] = {
    "a file in another folder": {"weight_map": {"w": "../model.safetensors"}},
    "an absolute path": {"weight_map": {"w": "/etc/passwd"}},
    "itself": {"weight_map": {"w": "model.safetensors.index.json"}},
    "a folder": {"weight_map": {"w": "."}},
    "no names": {"weight_map": {}},
    "a list": {"weight_map": ["w"]},
    "numbers": {"weight_map": {"w": 3}},
    "nothing": {},
    "no object": [1],
}


@pytest.mark.parametrize("listed", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_index_that_lists_no_shards_is_refused(tmp_path: Path, listed: Any) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(listed))
    refused(tmp_path)


def test_an_index_that_is_no_json_or_too_large(tmp_path: Path) -> None:
    path = indexed(tmp_path)
    with pytest.raises(LimitError, match="header_bytes"):
        read_index(tmp_path, limits=Limits(header_bytes=100))
    path.write_text("{" * 100_000)
    refused(tmp_path, "is no JSON")


LISTS = {
    "as usual": '{"metadata": {"total_size": 8}, "weight_map": {"a": "x", "b": "x", "é": "y"}}',
    "spaced": '{ "weight_map" : {"a": "x"}, "other": [1, {"b": null}]}',
    "a name twice": '{"weight_map": {"a": "x", "a": "y"}}',
    "an escape": '{"weight_map": {"a\\u0041": "x"}}',
    "in the metadata": '{"metadata": {"weight_map":{"a": "x"}}}',
    "twice": '{"weight_map":{"a": "x"}, "weight_map":{"b": "y"}}',
    "in a name": '{"weight_map":{"a": "x"}, "\\"weight_map\\":": 1}',
    "no texts": '{"weight_map":{"a": 1}}',
    "a comma too many": '{"weight_map":{"a": "x",}}',
    "cut off": '{"weight_map":{"a": "x"',
    "broken behind": '{"weight_map":{"a": "x"}, oh}',
    "a list": '[{"weight_map":{"a": "x"}}]',
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS.keys())
def test_lists_of_shards_are_read_in_c_as_json_reads_them(text: str) -> None:
    def said(read: Any) -> Any:
        try:
            return read(text.encode())
        except ValueError as error:
            return str(error)

    found, expected = said(sharded._loaded), said(json.loads)
    assert found == expected
    assert not isinstance(found, dict) or list(found) == list(expected)


def test_what_transformers_writes(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=300
    )
    model = BertModel(config)
    model.save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    ours = sd.open(tmp_path)
    state = ours.state_dict()
    assert state.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert state[name].numpy().tobytes() == tensor.numpy().tobytes(), name
    assert ours.config["hidden_size"] == 32
