"""How far values lie apart: beside torch; what is read, and how often; what is said of what was not compared."""

import sys
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from torch import nn

import statedict as sd
from statedict.accelerator import BLOCK
from tests.ops.diff.models import saved, watched, weights


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_figures_are_torchs(kind: torch.dtype, tmp_path: Path) -> None:
    old = torch.randn(300, 200).to(kind)
    new = (old + torch.randn(300, 200) * 0.1).to(kind)
    new[:50] = old[:50]
    (found,) = sd.diff(saved(tmp_path, "a", {"w": old}), saved(tmp_path, "b", {"w": new})).rows
    a, b = old.double().flatten(), new.double().flatten()
    values = found.values
    assert values is not None
    assert found.status == "different"
    assert values.changed == int((a != b).sum())
    assert values.max == float((b - a).abs().max())
    assert values.mean == pytest.approx(float((b - a).abs().mean()), rel=1e-12)
    assert values.relative == pytest.approx(float((b - a).norm() / a.norm()), rel=1e-12)
    assert values.cosine == pytest.approx(float(torch.cosine_similarity(a, b, dim=0)), rel=1e-12)
    assert values.snr == pytest.approx(10 * np.log10(float(a.square().sum() / (b - a).square().sum())), rel=1e-12)


def test_any_two_forms(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    torch.save(net.state_dict(), tmp_path / "a.pt")
    sd.save(sd.open(tmp_path / "a.pt"), tmp_path / "b.gguf")
    sd.save(sd.open(tmp_path / "a.pt"), tmp_path / "c.npz")
    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    for other in (net, net.state_dict(), arrays, tmp_path / "b.gguf", tmp_path / "c.npz", sd.open(net)):
        found = sd.diff(tmp_path / "a.pt", other, tensors_only=True)
        assert found.same, other
        assert {row.status for row in found.rows} == {"equal bits"}
    with torch.no_grad():
        net.get_parameter("0.bias")[2] += 1
    (changed,) = sd.diff(tmp_path / "a.pt", net, tensors_only=True).changes
    assert (changed.name, changed.values and changed.values.changed) == ("0.bias", 1)


def test_each_byte_is_read_once(tmp_path: Path) -> None:
    old = weights(rows=600, columns=700)
    new = {name: value + 0.01 * torch.randn_like(value) for name, value in old.items()}
    new["norm.weight"] = old["norm.weight"]
    a, b = saved(tmp_path, "a", old), saved(tmp_path, "b", new)
    sources = watched(a), watched(b)
    assert sd.diff(a, b, kinds=False).same is False
    assert [source.read for source in sources] == [sum(value.nbytes for value in old.values())] * 2


def test_with_kinds_corners_of_matrices_are_read_again_and_no_more(tmp_path: Path) -> None:
    old = {"w": torch.randn(600, 700)}
    a, b = saved(tmp_path, "a", old), saved(tmp_path, "b", {"w": old["w"] + 0.01 * torch.randn(600, 700)})
    sources = watched(a), watched(b)
    assert sd.diff(a, b).rows[0].kinds == ()
    corner = 128 * 128 * 4
    assert [source.read for source in sources] == [600 * 700 * 4 + corner, 600 * 700 * 4 + corner + 700 * 4]


def test_the_norm_of_what_changed_in_part_is_of_all_of_it(tmp_path: Path) -> None:
    old = torch.randn(3 * BLOCK)
    new = old.clone()
    new[BLOCK + 7] += 1
    a, b = saved(tmp_path, "a", {"w": old}), saved(tmp_path, "b", {"w": new})
    sources = watched(a), watched(b)
    values = sd.diff(a, b).rows[0].values
    assert values is not None
    assert values.same == 2 * BLOCK
    assert values.relative == pytest.approx(
        float((new.double() - old.double()).norm() / old.double().norm()), rel=1e-12
    )
    assert [source.read for source in sources] == [2 * old.nbytes, new.nbytes]


def test_the_same_bytes_are_not_read(tmp_path: Path) -> None:
    saved(tmp_path, "a", weights())
    a, b = (sd.open(tmp_path / "a.safetensors") for _ in range(2))
    found = sd.diff(a, b)
    assert {row.status for row in found.rows} == {"same bytes"}
    assert found.same
    assert found.total.count == 0
    edited = sd.rename(a, "norm.**=ln.**")
    assert {row.status for row in sd.diff(a, edited).rows} == {"same bytes"}
    assert [row.new_name for row in sd.diff(a, edited).changes] == ["ln.weight"]


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    most: list[int] = []
    for rows in (500, 4000):
        saved(tmp_path, "a", {"w": torch.randn(rows, 1000)})
        saved(tmp_path, "b", {"w": torch.randn(rows, 1000)})
        a, b = sd.open(tmp_path / "a.safetensors"), sd.open(tmp_path / "b.safetensors")
        sd.diff(a, b, threads=1)
        tracemalloc.start()
        sd.diff(a, b, threads=1)
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[1] < most[0] + (1 << 19)


def test_threads_and_executors_give_the_same_bits(tmp_path: Path) -> None:
    a = saved(tmp_path, "a", weights(rows=900, columns=900))
    b = saved(tmp_path, "b", {name: value * 1.01 for name, value in weights(1, rows=900, columns=900).items()})
    one = sd.diff(a, b, threads=1).to_json()
    assert sd.diff(a, b, threads=3).to_json() == one
    with ThreadPoolExecutor(2) as executor:
        assert sd.diff(a, b, executor=executor).to_json() == one


@pytest.mark.slow
def test_other_processes_work_as_well(tmp_path: Path) -> None:
    old = weights(rows=300, columns=600)
    a, b = saved(tmp_path, "a", old), saved(tmp_path, "b", {name: value.bfloat16() for name, value in old.items()})
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        assert sd.diff(a, b, executor=executor).to_json() == sd.diff(a, b, threads=1).to_json()


def test_progress_is_told_to_its_end(tmp_path: Path) -> None:
    a, b = saved(tmp_path, "a", weights()), saved(tmp_path, "b", weights(1))
    told: list[tuple[int, int]] = []
    sd.diff(a, b, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0
    assert len(told) >= 2
    assert all(done <= total for done, total in told)


def test_equal_bits_equal_values_and_close(tmp_path: Path) -> None:
    zero, other = torch.zeros(40), torch.zeros(40)
    other[3] = -0.0
    a, b = saved(tmp_path, "a", {"w": zero}), saved(tmp_path, "b", {"w": other})
    assert sd.diff(a, b).same
    assert sd.diff(a, b).rows[0].status == "equal values"
    assert sd.diff(a, b, exact=True).rows[0].status == "different"
    c = saved(tmp_path, "c", {"w": zero + 1e-4})
    assert sd.diff(a, c, atol=2e-4).rows[0].status == "close"
    assert sd.diff(a, c, atol=2e-4).same
    assert not sd.diff(a, c, atol=5e-5).same
    assert not sd.diff(a, c, rtol=0.5).same
    assert sd.diff(a, c, rtol=1.0).same


@pytest.mark.parametrize(
    ("wrong", "said"), [({"atol": -1.0}, "none: expected"), ({"exact": True, "rtol": 0.1}, "allows no tolerance")]
)
def test_a_wrong_tolerance_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sd.diff({}, {}, **wrong)  # type: ignore[arg-type]


def test_equal_after_a_cast(tmp_path: Path) -> None:
    old = torch.randn(100).bfloat16()
    (found,) = sd.diff(saved(tmp_path, "a", {"w": old}), saved(tmp_path, "b", {"w": old.float()})).rows
    assert (found.structure, found.status, found.is_same) == (("recast",), "equal values", False)


def test_reshaped_and_resized(tmp_path: Path) -> None:
    old = torch.randn(20, 12)
    grown = torch.cat([old, torch.randn(3, 12)])
    a = saved(tmp_path, "a", {name: old.clone() for name in ("view", "grown", "shrunk", "unlike")})
    b = saved(
        tmp_path, "b", {"view": old.reshape(20, 4, 3), "grown": grown, "shrunk": old[:7].clone(), "unlike": old[:, :5]}
    )
    rows = {row.name: row for row in sd.diff(a, b).rows}
    assert (rows["view"].status, rows["view"].note) == ("equal bits", "compared element by element, in order")
    assert (rows["grown"].status, rows["grown"].note) == ("equal bits", "the first 20 rows were compared")
    assert (rows["shrunk"].status, rows["shrunk"].note) == ("equal bits", "the first 7 rows were compared")
    assert (rows["unlike"].status, rows["unlike"].note) == ("unlike", "the shapes have nothing in common")


def test_strides_do_not_matter(tmp_path: Path) -> None:
    old = torch.randn(30, 20)
    torch.save({"w": old.t()}, tmp_path / "a.pt")
    assert sd.diff(tmp_path / "a.pt", {"w": old.t().contiguous()}).same
    torch.save({"w": old.t()}, tmp_path / "b.pt")
    assert sd.diff(tmp_path / "a.pt", tmp_path / "b.pt").rows[0].status == "equal bits"


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_sparse_and_quantised_tensors_are_compared_by_their_parts(tmp_path: Path) -> None:
    dense = torch.eye(4)
    torch.save({"s": dense.to_sparse(), "q": torch.quantize_per_tensor(dense, 0.1, 3, torch.qint8)}, tmp_path / "a.pt")
    dense[0, 0] = 5
    torch.save({"s": dense.to_sparse(), "q": torch.quantize_per_tensor(dense, 0.1, 3, torch.qint8)}, tmp_path / "b.pt")
    assert sd.diff(tmp_path / "a.pt", sd.open((tmp_path / "a.pt").read_bytes())).same
    found = sd.diff(tmp_path / "a.pt", tmp_path / "b.pt")
    assert {row.name for row in found.changes} == {"s.values", "q"}
    torch.save({"q": torch.quantize_per_tensor(dense, 0.2, 3, torch.qint8)}, tmp_path / "c.pt")
    (other,) = sd.diff(tmp_path / "b.pt", tmp_path / "c.pt", "q").rows
    assert (other.status, other.note) == ("not compared", "`scale` of the quantiser was 0.1 and is 0.2")
    assert not other.is_same


def blocks(path: Path, change: float = 0.0) -> Path:
    """A GGUF file with one tensor of blocks, by the reference library."""
    values = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
    values[3, :32] += change
    writer = gguf.GGUFWriter(path, "llama")
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("w", gguf.quants.quantize(values, kind), raw_dtype=kind)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    return path


def test_blocks_are_decoded_only_where_they_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = blocks(tmp_path / "a.gguf"), blocks(tmp_path / "b.gguf", change=0.5)
    (changed,) = sd.diff(first, second).changes
    assert changed.values is not None
    assert (changed.values.count, changed.values.changed) == (64 * 256, 32)
    read = [gguf.GGUFReader(each).tensors[0] for each in (first, second)]
    old, new = (gguf.quants.dequantize(each.data, each.tensor_type).astype("f8") for each in read)
    assert changed.values.max == float(np.abs(new - old).max())
    monkeypatch.setattr(gguf.quants, "dequantize", None)
    (same,) = sd.diff(first, blocks(tmp_path / "c.gguf")).rows
    assert same.status == "equal bits"


def test_blocks_that_no_library_decodes_are_still_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = blocks(tmp_path / "a.gguf"), blocks(tmp_path / "b.gguf", change=0.5)
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert sd.diff(first, blocks_copied(first)).rows[0].status == "equal bits"
    (row,) = sd.diff(first, second).rows
    assert row.status == "not compared"
    assert row.note.startswith("the blocks differ; tensor `w` is q8_0, whose values need gguf")
    assert not row.is_same


def blocks_copied(path: Path) -> Path:
    copied = path.with_name("copied.gguf")
    copied.write_bytes(path.read_bytes())
    return copied


def test_tensors_without_values_are_not_said_to_be_equal() -> None:
    meta = {"w": torch.empty(3, device="meta")}
    (found,) = sd.diff(sd.open(meta), sd.open({"w": torch.ones(3)})).rows
    assert found.status == "not compared"
    assert "without its values" in found.note
    assert not found.is_same


def test_empty_models_and_tensors() -> None:
    assert sd.diff({}, {}).same
    assert sd.diff({"w": torch.ones(0, 3)}, {"w": torch.ones(0, 3)}).same
    assert sd.diff({"w": torch.ones(())}, {"w": torch.ones(())}).same
    assert [row.structure for row in sd.diff({}, {"w": torch.ones(2)}).rows] == [("added",)]
