"""Orbax's folders: what its own writer made (see `orbax_samples`), beside what tensorstore itself reads of it."""

import json
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore

import statedict as sd
from statedict.errors import FormatError, LimitError, MissingExtraError, UnknownFormatError
from statedict.limits import Limits
from statedict.opening import read_index
from tests.formats.orbax_samples import LAYOUTS, SAMPLES, tree


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("orbax")
    with zipfile.ZipFile(SAMPLES) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def copy(samples: Path, tmp_path: Path) -> Path:
    """A checkpoint in plain zarr, to be damaged."""
    return Path(shutil.copytree(samples / "zarr2", tmp_path / "copy"))


def arrays(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays and numbers in a nested object, each with its full name."""
    for key, held in value.items() if isinstance(value, dict) else enumerate(value):
        full = f"{path}.{key}" if path else str(key)
        if isinstance(held, dict | list):
            yield from arrays(held, full)
        elif isinstance(held, np.ndarray | int):
            yield full, np.asarray(held)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_object_that_was_saved(samples: Path, layout: str) -> None:
    ours = sd.open(samples / layout)
    state = ours.state_dict()
    expected = dict(arrays(tree()))
    assert state.keys() == expected.keys()
    for name, array in expected.items():
        assert state[name].shape == array.shape, name
        assert state[name].dtype.name == array.dtype.name, name
        assert np.array_equal(state[name].numpy(), array), name
    assert (ours.note, ours.none, ours.params.empty) == ("written by Orbax", None, {})
    assert [name for name, _ in ours.params.layers.named_children()] == [str(number) for number in range(11)]
    assert ours.params.layers.container == "list"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_range_of_bytes_is_the_wholes(samples: Path, layout: str) -> None:
    """Also of an array that four devices wrote, a quarter each."""
    index = read_index(samples / layout)
    for name in ("params.Dense_0.kernel", "params.Dense_0.bias", "cube", "scalar"):
        extent = index.tensors[name].extent
        assert extent is not None
        whole = dict(arrays(tree()))[name].tobytes()
        for first in range(0, len(whole), 7):
            for size in (1, 5, 33, len(whole) - first):
                end = min(first + size, len(whole))
                assert extent.source.read_at(first, end - first) == whole[first:end], (name, first, end)


def test_the_kernel_was_written_in_quarters(samples: Path) -> None:
    """So that the test above is of one that has to be put together."""
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{samples}/zarr2/params.Dense_0.kernel/"}}
    assert tensorstore.open(spec).result().chunk_layout.read_chunk.shape == (3, 4)


def test_a_step_of_a_manager(samples: Path) -> None:
    assert list(sd.open(samples / "run" / "1").state_dict()) == ["w"]
    both = sd.open(samples / "items" / "2")
    assert list(both.state_dict()) == ["state.w"]
    assert both.about == {"epoch": 3}
    assert both.state.w.tolist() == [0, 1, 2]


def test_a_manager_leads_to_its_steps(samples: Path) -> None:
    with pytest.raises(UnknownFormatError, match="items/2`, or name it as key"):
        sd.open(samples / "items")
    assert sd.open(samples / "items", key="2").state.w.shape == (3,)
    assert sd.open(samples / "items", key="2.state").w.shape == (3,)


def test_without_tensorstore(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain zarr opens, since its descriptions are JSON; values and databases say what to install."""
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    plain = sd.open(samples / "zarr3")
    assert plain.params.Dense_0.kernel.shape == (6, 8)
    with pytest.raises(MissingExtraError, match=r"pip install 'statedict\[orbax\]'"):
        plain.params.Dense_0.kernel.numpy()
    with pytest.raises(MissingExtraError, match=r"pip install 'statedict\[orbax\]'"):
        sd.open(samples / "ocdbt-zarr2")


def test_opening_plain_zarr_does_not_load_tensorstore(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorstore")
    read_index(samples / "zarr2")
    assert "tensorstore" not in sys.modules


def test_tensors_go_to_other_processes(samples: Path) -> None:
    tensor = sd.open(samples / "ocdbt-zarr3").params.Dense_0.kernel
    assert np.array_equal(pickle.loads(pickle.dumps(tensor)).numpy(), tensor.numpy())


def test_without_the_structure_names_are_split_at_their_dots(copy: Path) -> None:
    (copy / "_METADATA").write_text('{"tree_metadata": {}}')
    assert sd.open(copy).state_dict().keys() == dict(arrays(tree())).keys()


def test_an_array_that_no_tensor_can_hold_is_described(copy: Path) -> None:
    description = json.loads((copy / "cube" / ".zarray").read_text())
    (copy / "cube" / ".zarray").write_text(json.dumps({**description, "dtype": "|S8"}))
    assert "cube" not in sd.open(copy).state_dict()
    assert sd.open(copy).cube.kwargs == {"shape": (2, 3, 5), "dtype": "|S8"}


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "an array is missing": (
        lambda folder: shutil.rmtree(folder / "cube"),
        r"`cube` \(jax.Array\) is listed, but not there",
    ),
    "the structure is no JSON": (lambda folder: (folder / "_METADATA").write_text("{"), "_METADATA: is no JSON"),
    "the structure is another": (lambda folder: (folder / "_METADATA").write_text("[]"), "no `tree_metadata`"),
    "a key is no key": (
        lambda folder: (folder / "_METADATA").write_text('{"tree_metadata": {"a": {"key_metadata": [1]}}}'),
        "no `tree_metadata`",
    ),
    "a description is no JSON": (lambda folder: (folder / "cube" / ".zarray").write_text("no"), "`cube`: is no JSON"),
    "a description without shape": (
        lambda folder: (folder / "cube" / ".zarray").write_text('{"dtype": "<i4"}'),
        "`cube` has no shape and type",
    ),
    "a negative shape": (
        lambda folder: (folder / "cube" / ".zarray").write_text('{"dtype": "<i4", "shape": [-1]}'),
        "`cube` has no shape and type",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folders(copy: Path, damage: str) -> None:
    change, message = DAMAGES[damage]
    change(copy)
    with pytest.raises(FormatError, match=message):
        sd.open(copy)


def test_damaged_chunks_are_met_when_they_are_read(copy: Path) -> None:
    (copy / "cube" / "0.0.0").write_bytes(b"no zstd")
    cube = sd.open(copy).cube
    with pytest.raises(FormatError, match="array `cube`: cannot be read"):
        cube.numpy()


def test_an_array_that_changed_after_it_was_opened(copy: Path) -> None:
    cube = sd.open(copy).cube
    description = json.loads((copy / "cube" / ".zarray").read_text())
    (copy / "cube" / ".zarray").write_text(json.dumps({**description, "shape": [2, 3, 6], "chunks": [2, 3, 6]}))
    with pytest.raises(FormatError, match="another shape or element type than when it was opened"):
        cube.numpy()


def test_damaged_databases(samples: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(samples / "ocdbt-zarr2", tmp_path / "copy"))
    manifest = (folder / "manifest.ocdbt").read_bytes()
    for damaged in (b"", b"no manifest", manifest[:50], manifest[:20] + b"\xff" + manifest[21:]):
        (folder / "manifest.ocdbt").write_bytes(damaged)
        with pytest.raises(FormatError):
            sd.open(folder)


def test_a_database_without_its_data(samples: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(samples / "ocdbt-zarr2", tmp_path / "copy"))
    shutil.rmtree(folder / "d")
    with pytest.raises(FormatError, match="incomplete or damaged"):
        sd.open(folder)


def test_limits(samples: Path) -> None:
    for layout in LAYOUTS:
        with pytest.raises(LimitError):
            sd.open(samples / layout, limits=Limits(header_bytes=100))
        with pytest.raises(LimitError):
            sd.open(samples / layout, limits=Limits(names=3))


def test_an_unfinished_save_is_none(samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unfinished.orbax-checkpoint-tmp"
    folder.mkdir()
    shutil.copy(samples / "zarr2" / "_CHECKPOINT_METADATA", folder)
    with pytest.raises(UnknownFormatError, match="without weights"):
        sd.open(folder)
