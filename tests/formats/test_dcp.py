"""PyTorch's distributed checkpoints: written by one process and by four, read as one."""

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.state_dict_saver import save

import statedict as sd
from statedict.errors import FormatError
from statedict.opening import read_index
from tests.formats import distributed
from tests.formats.stored import assert_same, bits
from tests.same import assert_same_tensor

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What four processes wrote together."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-W", "ignore", "-m", "tests.formats.distributed", str(folder)]
    running = [subprocess.Popen([*command, str(rank)]) for rank in range(distributed.RANKS)]
    assert [process.wait(120) for process in running] == [0] * distributed.RANKS
    return folder


def assert_values(ours: sd.Module, expected: dict[str, torch.Tensor], prefix: str = "") -> None:
    state = ours.state_dict()
    assert set(state) == {prefix + name for name in expected}
    for name, tensor in expected.items():
        tensor = tensor.detach().contiguous()
        assert_same_tensor(state[prefix + name], tensor, name)


@pytest.mark.slow
def test_tensors_split_over_ranks_are_joined(ranks: Path) -> None:
    ours = sd.open(ranks / "dcp")
    assert_values(ours, distributed.tensors(), "model.")
    assert {"step": ours.step, "names": ours.names, "nested": ours.nested} == distributed.objects()


@pytest.mark.slow
def test_every_range_of_bytes_is_the_wholes(ranks: Path) -> None:
    index = read_index(ranks / "dcp")
    for name, tensor in distributed.tensors().items():
        extent = index.tensors[f"model.{name}"].extent
        assert extent is not None
        whole = bits(tensor)
        for first in range(0, len(whole), 3):
            for size in (1, 5, 17, len(whole) - first):
                end = min(first + size, len(whole))
                assert extent.source.read_at(extent.offset + first, end - first) == whole[first:end], name


@pytest.mark.slow
def test_a_sharded_model_and_its_optimizer_are_what_torch_converts(ranks: Path, tmp_path: Path) -> None:
    dcp_to_torch_save(ranks / "fsdp", tmp_path / "whole.pt")
    theirs = sd.open(tmp_path / "whole.pt")
    ours = sd.open(ranks / "fsdp")
    state, expected = ours.state_dict(), theirs.state_dict()
    assert state.keys() == expected.keys()
    assert len(state) == 9 + 6 * 3
    for name, tensor in expected.items():
        assert state[name].numpy().tobytes() == tensor.numpy().tobytes(), name
    assert ours.get_submodule("optim").param_groups == theirs.get_submodule("optim").param_groups


@pytest.mark.slow
def test_the_kind_in_safetensors(ranks: Path) -> None:
    index = read_index(ranks / "safetensors")
    assert index.format == "dcp safetensors"
    expected = {name: tensor for name, tensor in distributed.tensors().items() if name != "empty"}
    assert_values(sd.open(ranks / "safetensors"), expected)


@pytest.mark.slow
def test_missing_files_of_ranks_are_named(ranks: Path, tmp_path: Path) -> None:
    for name, gone in (("dcp", "__1_0.distcp"), ("safetensors", "shard-00002-model-00001-of-00001.safetensors")):
        folder = tmp_path / name
        shutil.copytree(ranks / name, folder)
        (folder / gone).unlink()
        refused(folder, gone if name == "dcp" else "the shards of ranks 2 are missing")


@pytest.mark.slow
def test_sources_travel_to_other_processes(ranks: Path) -> None:
    for folder in ("dcp", "safetensors"):
        for info in read_index(ranks / folder).tensors.values():
            copied = pickle.loads(pickle.dumps(info))
            assert info.extent is not None
            assert copied.extent.read() == info.extent.read()


def refused(folder: Path, *parts: str) -> None:
    with pytest.raises(FormatError) as caught:
        for info in read_index(folder).tensors.values():
            assert info.extent is not None
            info.extent.read()
    assert len(str(caught.value).splitlines()) == 1
    for part in (str(folder), *parts):
        assert part in str(caught.value)


STATE: dict[str, Any] = {
    "w": torch.arange(6.0).reshape(2, 3),
    "transposed": torch.arange(6.0).reshape(2, 3).t(),
    "part": torch.arange(10, dtype=torch.bfloat16)[2:5],
    "grad": torch.nn.Parameter(torch.ones(2)),
    "list": [torch.zeros(1), torch.ones(1)],
    "text": "hello",
    "empty": torch.zeros(3, 0),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(STATE, checkpoint_id=tmp_path / "saved", no_dist=True)
    return tmp_path / "saved"


def test_what_one_process_saved(saved: Path) -> None:
    ours = sd.open(saved)
    expected = {name: tensor for name, tensor in STATE.items() if isinstance(tensor, torch.Tensor)}
    assert_values(ours, expected | {f"list.{number}": tensor for number, tensor in enumerate(STATE["list"])})
    assert ours.text == "hello"
    assert ours.get_submodule("list").container == "list"
    assert ours.get_parameter("grad").requires_grad
    assert read_index(saved).format == "dcp"


def test_a_tensor_in_one_plain_piece_lies_in_its_file(saved: Path) -> None:
    info = read_index(saved).tensors["w"]
    assert_same(info, STATE["w"])
    assert info.extent is not None
    source, offset = info.extent.source.located(info.extent.offset)
    assert Path(source.name) == saved / "__0_0.distcp"
    assert source.read_at(offset, 24) == bits(STATE["w"])


def test_a_model_saved_by_huggingfaces_writer_alone_is_a_plain_folder(tmp_path: Path) -> None:
    tensors = {"w": torch.arange(6.0), "v": torch.ones(2, 2)}
    save(tensors, storage_writer=HuggingFaceStorageWriter(path=str(tmp_path)), no_dist=True)
    assert_values(sd.open(tmp_path), tensors)


def test_a_folder_that_is_said_to_be_of_shards_and_has_none(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(FormatError, match=r"has no `shard-00001-….safetensors`, as ranks write them; fetch them"):
        sd.open(tmp_path, format="dcp safetensors")


def changed(folder: Path, change: Callable[[Metadata], Any]) -> None:
    path = folder / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(change(metadata) or metadata))


def place(metadata: Metadata, name: str = "w") -> Any:
    return next(info for key, info in metadata.storage_data.items() if key.fqn == name)


def chunk(metadata: Metadata) -> Any:
    return metadata.state_dict_metadata["w"].chunks[0]  # type: ignore[union-attr]


HOSTILE: dict[str, tuple[Callable[[Metadata], Any], str]] = {
    "a file in another folder": (lambda m: setattr(place(m), "relative_path", "../x"), "`../x` in another folder"),
    "an absolute path": (lambda m: setattr(place(m), "relative_path", "/etc/passwd"), "another folder"),
    "a file that is not there": (lambda m: setattr(place(m), "relative_path", "__7_0.distcp"), "__7_0.distcp"),
    "a file called by a dict": (lambda m: setattr(place(m), "relative_path", {"a": 1}), "no file is named"),
    "the folder itself": (lambda m: setattr(place(m), "relative_path", ".."), "missing"),
    "a place beyond the file": (lambda m: setattr(place(m), "offset", 1 << 40), "truncated"),
    "a negative place": (lambda m: setattr(place(m), "offset", -1), "no file is named"),
    "a length that is a text": (lambda m: setattr(place(m), "length", "x"), "no file is named"),
    "a place within another tensor": (lambda m: setattr(place(m), "offset", place(m).offset + 1), "tensor `w`"),
    "another tensor's place": (lambda m: m.storage_data.update({_key(m): place(m, "grad")}), "not (2, 3)"),
    "an object's place": (lambda m: m.storage_data.update({_key(m): place(m, "text")}), "no plain tensor"),
    "no place": (lambda m: m.storage_data.pop(_key(m)) and None, "no file is named"),
    "a compressed piece": (lambda m: setattr(place(m), "transform_descriptors", ["zstd"]), "zstd"),
    "a piece outside": (lambda m: setattr(chunk(m), "sizes", torch.Size([2, 4])), "outside"),
    "a piece too small": (lambda m: setattr(chunk(m), "sizes", torch.Size([2, 2])), "cover 4 elements"),
    "a piece of another dimension": (lambda m: setattr(chunk(m), "sizes", torch.Size([6])), "outside"),
    "a piece twice": (
        lambda m: m.state_dict_metadata["w"].chunks.append(chunk(m)),  # type: ignore[union-attr]
        "cover 12 elements",
    ),
    "no pieces": (lambda m: m.state_dict_metadata["w"].chunks.clear(), "cover 0"),  # type: ignore[union-attr]
    "chunks that are no list": (lambda m: setattr(m.state_dict_metadata["w"], "chunks", 3), "needs properties"),
    "an unknown kind": (lambda m: m.state_dict_metadata.update({"w": cast("Any", 3)}), "which is unknown"),
    "no metadata": (lambda _: {"a": 1}, "no `Metadata`"),
}


def _key(metadata: Metadata) -> Any:
    return next(key for key in metadata.storage_data if key.fqn == "w")


@pytest.mark.parametrize(("change", "part"), HOSTILE.values(), ids=HOSTILE.keys())
def test_metadata_that_contradicts_the_files_is_refused(
    saved: Path, change: Callable[[Metadata], Any], part: str
) -> None:
    changed(saved, change)
    refused(saved, part)


def test_a_truncated_file_is_refused_when_it_is_opened(saved: Path) -> None:
    path = saved / "__0_0.distcp"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match="truncated or still being written"):
        sd.open(saved)


def test_nothing_in_metadata_is_run(saved: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return exec, ("raise SystemExit",)

    changed(saved, lambda metadata: setattr(metadata, "storage_meta", Hostile()))
    assert "w" in sd.open(saved).state_dict()


def test_paths_in_no_order_that_a_dict_has(saved: Path) -> None:
    def crossed(metadata: Metadata) -> None:
        metadata.planner_data.update({"w": ("text", "w"), "part": ("part", "deeper"), "grad": ([1], {})})

    changed(saved, crossed)
    state = sd.open(saved).state_dict()
    assert len(state) == 7
