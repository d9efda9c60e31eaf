"""What lies beside the weights is copied along, and tells the new element type."""

import json
from pathlib import Path

import pytest

import statedict as sd
from statedict.companions import copy_companions
from statedict.source import Folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source / "sub", target):
        folder.mkdir(parents=True)
    names = [
        *(
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "optimizer.pt",
            "x.gguf",
            ".hidden",
        ),
        *("config.json", "tokenizer.json", "tokenizer.model", "README.md", "LICENSE", "modeling.py", "merges.txt"),
    ]
    for name in names:
        (source / name).write_text(name)
    (source / "config.json").write_text('{"torch_dtype": "float32", "n": 1, "vision": {"dtype": "torch.float32"}}')
    return source, target


COPIED = ["LICENSE", "README.md", "config.json", "merges.txt", "modeling.py", "tokenizer.json", "tokenizer.model"]


def test_all_but_weights(folders: tuple[Path, Path]) -> None:
    source, target = folders
    assert copy_companions(Folder(source), target) == COPIED
    assert sorted(path.name for path in target.iterdir()) == sorted(COPIED)
    assert all((target / name).read_bytes() == (source / name).read_bytes() for name in COPIED)


def test_the_element_type(folders: tuple[Path, Path]) -> None:
    source, target = folders
    copy_companions(Folder(source), target, sd.dtype("bf16"))
    assert json.loads((target / "config.json").read_text()) == {
        "torch_dtype": "bfloat16",
        "n": 1,
        "vision": {"dtype": "bfloat16"},
    }


@pytest.mark.parametrize("text", ["{", "[1]", '{"n": 1}', '{"dtype": "auto", "torch_dtype": null}'])
def test_a_configuration_that_tells_no_type_is_copied_as_it_is(text: str, folders: tuple[Path, Path]) -> None:
    source, target = folders
    (source / "config.json").write_text(text)
    copy_companions(Folder(source), target, sd.dtype("bf16"))
    assert (target / "config.json").read_text() == text
