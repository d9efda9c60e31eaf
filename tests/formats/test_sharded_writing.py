"""Folders of shards as we write them: divided as `huggingface_hub` divides, loaded by transformers and by us."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, BertConfig, GPT2Config

import statedict as sd
from statedict.errors import StatedictError
from statedict.formats import FORMATS, Format
from statedict.formats.sharded import shard, write_folder
from statedict.index import Index
from statedict.limits import DEFAULT_LIMITS
from statedict.plan import Plan
from statedict.source import FileSource, Folder
from tests.written import bytes_of_plan, flat, same_contents, write_plans

BY_NAME = {entry.name: entry for entry in FORMATS}
SAFETENSORS, TORCH = BY_NAME["safetensors"], BY_NAME["torch"]


@settings(deadline=5000)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 9)), max_size=20), st.integers(1, 30))
def test_shards_are_those_of_huggingface(tensors: list[tuple[int, int]], most: int) -> None:
    """Each is of so many bytes, or the earlier one that the second number names, if there is one."""
    state: dict[str, torch.Tensor] = {}
    for number, (size, earlier) in enumerate(tensors):
        state[f"w{number}"] = state.get(f"w{earlier}", torch.zeros(size, dtype=torch.uint8))
    ours = [part.tensors.keys() for part in shard(flat(state), most)]
    theirs = split_torch_state_dict_into_shards(state, max_shard_size=most) if state else None
    assert ours == (list(map(set, theirs.filename_to_tensors.values())) if theirs else [set[str]()])


def test_a_single_shard_needs_no_list() -> None:
    index = flat({"w": torch.ones(4)})
    assert list(write_folder(index, SAFETENSORS, "5GB")) == ["model.safetensors"]
    assert list(write_folder(index, TORCH, 16)) == ["pytorch_model.bin"]


def tied() -> Index:
    shared = torch.ones(8)
    return flat(
        {"a": shared, "b": torch.ones(8).double(), "c": torch.ones(1), "z": shared}, {"by": "hand", "total_size": 1}
    )


def listed(plans: Mapping[str, Plan], name: str) -> Any:
    assert list(plans)[-1] == name
    return json.loads(bytes_of_plan(plans[name]))


def test_the_list_comes_last_and_says_what_is_where() -> None:
    plans = write_folder(tied(), SAFETENSORS, "50B")
    assert list(plans) == [*(f"model-0000{n}-of-00002.safetensors" for n in (1, 2)), "model.safetensors.index.json"]
    assert listed(plans, "model.safetensors.index.json") == {
        "metadata": {"total_parameters": 17, "total_size": 100},
        "weight_map": {
            "a": "model-00002-of-00002.safetensors",
            "b": "model-00001-of-00002.safetensors",
            "c": "model-00002-of-00002.safetensors",
        },
    }
    plans = write_folder(tied(), TORCH, "50B")
    assert listed(plans, "pytorch_model.bin.index.json")["weight_map"] == {
        "a": "pytorch_model-00002-of-00002.bin",
        "b": "pytorch_model-00001-of-00002.bin",
        "c": "pytorch_model-00002-of-00002.bin",
        "z": "pytorch_model-00002-of-00002.bin",
    }


@pytest.mark.parametrize("entry", [SAFETENSORS, TORCH], ids=lambda entry: entry.name)
@pytest.mark.parametrize("most", [1, 50, 10_000])
def test_a_folder_is_read_again(tmp_path: Path, entry: Format, most: int) -> None:
    write_plans(tmp_path, write_folder(tied(), entry, most))
    again = BY_NAME["folder"].reader().read(Folder(tmp_path), DEFAULT_LIMITS)
    same_contents(again, tied())
    assert again.tensors["a"] is again.tensors["z"]
    assert "surplus" not in again.metadata
    assert again.metadata.get("by") == ("hand" if entry is SAFETENSORS else None)


def test_other_formats_are_not_divided() -> None:
    with pytest.raises(StatedictError, match=r'the format "gguf" is written to one file, .* ends in \.gguf'):
        write_folder(tied(), BY_NAME["gguf"], 50)


MODELS: dict[str, tuple[Any, Any]] = {
    "gpt2": (AutoModelForCausalLM, GPT2Config(n_embd=8, n_layer=2, n_head=2, n_positions=16, vocab_size=50)),
    "bert": (
        AutoModelForMaskedLM,
        BertConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, vocab_size=50),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("entry", [SAFETENSORS, TORCH], ids=lambda entry: entry.name)
@pytest.mark.parametrize("most", ["1KB", "1GB"])
@pytest.mark.parametrize("model", MODELS)
def test_transformers_loads_what_was_written(tmp_path: Path, model: str, most: str, entry: Format) -> None:
    torch.manual_seed(0)
    load, config = MODELS[model]
    live = load.from_config(config)
    source, target = tmp_path / "source.pt", tmp_path / "target"
    torch.save(live.state_dict(), source)
    target.mkdir()
    index = BY_NAME["torch"].reader().read(FileSource(source), DEFAULT_LIMITS)
    assert index.aliases(), "its weights are tied"
    plans = write_folder(index, entry, most)
    assert (len(plans) > 2) == (most == "1KB")
    write_plans(target, plans)
    config.save_pretrained(target)

    loaded, report = load.from_pretrained(target, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    expected = live.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    ours = sd.open(target)
    assert {name: tuple(tensor.shape) for name, tensor in ours.state_dict().items()}.items() >= {
        name: tuple(tensor.shape) for name, tensor in expected.items()
    }.items()
