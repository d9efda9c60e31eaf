"""`fingerprint` beside its definition written anew here: the same for the same values, however they lie."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import pytest
import torch
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import statedict
from statedict.dtypes import DTYPES
from statedict.errors import FormatError, MissingExtraError, PatternError
from statedict.index import Encoding
from statedict.ops import panels
from statedict.ops.digests import ALGORITHMS, hash_of
from statedict.ops.fingerprint import Fingerprint, Print, fingerprint, fingerprints
from statedict.source import BytesSource
from statedict.tree.tensor import Tensor
from tests.numbers import random_elements
from tests.tensors import described


class Counted(BytesSource):
    """Bytes that are counted as they are read, by any thread."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[int] = []

    @property
    def taken(self) -> int:
        return sum(self.reads)

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        self.reads.append(len(buffer))
        super().readinto_at(offset, buffer)


HASHES: dict[str, Callable[[bytes], bytes]] = {
    "blake3": lambda data: blake3.blake3(data).digest(),
    "xxh3": lambda data: xxhash.xxh3_128(data).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}


def digest_of(kind: str, shape: tuple[int, ...], data: bytes, algorithm: str = "blake3") -> str:
    """The definition in docs/commands/hash.md, for a plain tensor."""
    hashed = HASHES[algorithm]
    leaves = [hashed(data[at : at + 2**20]) for at in range(0, len(data), 2**20)]
    text = f"tensor\n{kind}\n{','.join(map(str, shape))}\n".encode()
    return f"{algorithm}:{hashed(text + b''.join(leaves)).hex()}"


def digest_of_all(digests: dict[str, str], algorithm: str = "blake3") -> str:
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return f"{algorithm}:{HASHES[algorithm](lines.encode()).hex()}"


def bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_is_what_the_definition_says(algorithm: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(300, 1100), nn.BatchNorm1d(7), nn.Sequential(nn.Embedding(600, 1000)))
    found = fingerprint(statedict.open(net), algorithm=algorithm)
    expected = {
        name: digest_of(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), bytes_of(tensor), algorithm)
        for name, tensor in net.state_dict().items()
    }
    assert found.tensors == expected
    assert found.model == digest_of_all(expected, algorithm)
    below = {name.removeprefix("1."): digest for name, digest in expected.items() if name.startswith("1.")}
    assert found.modules["1"] == digest_of_all(below, algorithm)
    assert list(found.modules) == ["", "0", "1", "2", "2.0"]
    assert found.modules["2.0"] == digest_of_all({"weight": expected["2.0.weight"]}, algorithm)


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "bfloat16", "int64", "uint8", "bool", "complex64"])
@given(data=st.data())
def test_strides_and_byte_order_do_not_matter(kind: str, data: st.DataObject) -> None:
    seed, rows, columns = data.draw(st.integers(0, 99)), data.draw(st.integers(0, 9)), data.draw(st.integers(1, 9))
    values = random_elements(kind, rows * columns, seed).reshape(rows, columns)
    plain, turned = bytes(values.tobytes()), values.T.copy().tobytes()
    part = 4 if kind == "complex64" else values.itemsize
    swapped = np.frombuffer(plain, f"u{part}").byteswap().tobytes()
    shape, expected = (rows, columns), digest_of(kind, (rows, columns), plain)
    assert fingerprint(described(BytesSource(plain), kind, shape)) == expected
    if rows:
        assert fingerprint(described(BytesSource(turned), kind, shape, stride=(1, rows))) == expected
    big = described(BytesSource(swapped), kind, shape, encoding=Encoding(byteorder="big"))
    assert fingerprint(big) == expected


def test_every_format_gives_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 6)).float()
    torch.save(net.state_dict(), tmp_path / "state.pt")
    torch.save(net, tmp_path / "whole.pt")
    torch.save(net.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    model = statedict.open(tmp_path / "state.pt")
    for name in ("a.safetensors", "a.npz", "a"):
        statedict.save(model, tmp_path / name, max_shard_size=200 if name == "a" else None)
    shuffled = dict(reversed(net.state_dict().items()))
    opened = [statedict.open(path) for path in sorted(tmp_path.iterdir())]
    assert len({fingerprint(each) for each in [*opened, statedict.open(net), statedict.open(shuffled)]}) == 1


def test_what_a_state_dict_leaves_out_is_left_out() -> None:
    net = nn.Module()
    net.register_buffer("kept", torch.ones(2))
    net.register_buffer("left", torch.ones(3), persistent=False)
    assert list(fingerprint(statedict.open(net)).tensors) == ["kept"]


@pytest.mark.parametrize(
    "other",
    [
        torch.tensor([1.0, -0.0]),
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([1.0, 0.0]).double(),
        torch.tensor([1.0]),
        torch.tensor([0.0, 1.0]),
        torch.tensor([1.0, 0.0]).view(torch.int32),
    ],
)
def test_every_bit_type_and_size_counts(other: torch.Tensor) -> None:
    assert fingerprint(Tensor(torch.tensor([1.0, 0.0]))) != fingerprint(Tensor(other))


def test_payloads_of_nan_count() -> None:
    quiet, other = (Tensor(np.array([bits], "u4").view("f4")) for bits in (0x7FC00000, 0x7FC00001))
    assert fingerprint(quiet) != fingerprint(other)
    assert fingerprint(quiet) == fingerprint(Tensor(np.array([0x7FC00000], "u4").view("f4")))


def test_scalars_and_empty_tensors() -> None:
    assert fingerprint(Tensor(torch.tensor(2.5))) == digest_of("float32", (), np.float32(2.5).tobytes())
    assert fingerprint(Tensor(torch.ones(0, 3))) == digest_of("float32", (0, 3), b"")
    assert fingerprint(statedict.open({})).model == digest_of_all({})


def test_tied_names_have_one_digest_and_are_read_once() -> None:
    source = Counted(bytes(range(40)))
    weight = described(source, "float32", (10,))
    model = statedict.open({"a": {"w": weight}, "b": {"w": weight}})
    found = fingerprint(model)
    assert found.tensors["a.w"] == found.tensors["b.w"]
    assert found.modules["a"] == found.modules["b"]
    assert source.taken == 40


def test_bytes_are_read_once_whatever_does_the_work() -> None:
    data = np.random.default_rng(0).integers(0, 256, 5_000_002, "u1").tobytes()
    source = Counted(data)
    tensors = {"w": described(source, "bfloat16", (2_500_001,))}
    expected = {"w": digest_of("bfloat16", (2_500_001,), data)}
    for threads in (1, 2, 5):
        source.reads.clear()
        assert fingerprints(tensors, threads=threads) == expected
        assert source.taken == len(data)


@pytest.mark.parametrize("threads", [1, 3])
def test_large_strided_tensors_are_read_in_few_panels(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "_PANEL", 3 << 20)
    values = np.random.default_rng(0).standard_normal((1111, 1500), "f4")
    source = Counted(values.T.copy().tobytes())
    turned = described(source, "float32", (1111, 1500), stride=(1, 1111))
    assert fingerprint(turned, threads=threads) == digest_of("float32", (1111, 1500), values.tobytes())
    assert source.taken <= 6 * values.nbytes  # three panels, of which two begin or end within a row
    assert pickle.loads(pickle.dumps(panels.Panels(turned.info))).read_at(4, 4) == values[0, 1].tobytes()
    with pytest.raises(FormatError, match="expected"):
        panels.Panels(turned.info).readinto_at(values.nbytes - 1, memoryview(bytearray(2)))


def test_progress_ends_at_all_bytes() -> None:
    told: list[tuple[int, int]] = []
    fingerprint(statedict.open(nn.Linear(700, 900)), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == ((700 * 900 + 900) * 4,) * 2


def test_pairs_of_float4_are_float4() -> None:
    """PyTorch counts bytes of two, safetensors the elements."""
    data = bytes(range(12))
    pairs, single = (described(BytesSource(data), *how) for how in (("float4_e2m1fn_x2", (3, 4)), ("f4", (3, 8))))
    assert fingerprint(pairs) == fingerprint(single) == digest_of("f4", (3, 8), data)


def test_what_fills_the_last_byte_does_not_count() -> None:
    clean, dirty = (described(BytesSource(bytes([0x21, last])), "uint4_packed", (3,)) for last in (0x03, 0xF3))
    assert fingerprint(clean) == fingerprint(dirty) == digest_of("uint4_packed", (3,), bytes([0x21, 0x03]))


def test_blocks_are_hashed_as_they_are_stored() -> None:
    data = bytes(range(36))
    tensor = described(BytesSource(data), "q4_0", (2, 32))
    assert fingerprint(tensor) == digest_of("q4_0", (2, 32), data)
    big = described(BytesSource(data), "q4_0", (2, 32), encoding=Encoding(byteorder="big"))
    with pytest.raises(TypeError, match="big-endian blocks"):
        fingerprint(big)


def test_sparse_and_quantised_tensors_by_their_parts() -> None:
    sparse = torch.tensor([[0.0, 2.0], [3.0, 0.0]]).to_sparse()
    parts = {"indices": sparse._indices(), "values": sparse._values()}
    text = b"tensor\nfloat32 sparse_coo\n2,2\n"
    for name, part in parts.items():
        plain = digest_of(str(part.dtype).removeprefix("torch."), tuple(part.shape), bytes_of(part))
        text += name.encode() + b"\n" + bytes.fromhex(plain.partition(":")[2])
    assert fingerprint(Tensor(sparse)) == "blake3:" + blake3.blake3(text).hexdigest()
    assert fingerprint(Tensor(sparse)) != fingerprint(Tensor(sparse.to_dense()))


@pytest.mark.filterwarnings("ignore:torch.quantize:UserWarning")
def test_quantised_tensors_with_their_scale(tmp_path: Path) -> None:
    values = torch.tensor([0.5, -1.0, 2.0])
    first, second = (torch.quantize_per_tensor(values, scale, 3, torch.qint8) for scale in (0.5, 0.25))
    codes = bytes_of(first.int_repr())
    kind = "qint8 qscheme=per_tensor_affine scale=0.5 zero_point=3"
    assert fingerprint(Tensor(first)) == digest_of(kind, (3,), codes)
    channels = torch.quantize_per_channel(torch.eye(2), torch.tensor([0.5, 1.0]), torch.tensor([0, 1]), 0, torch.quint8)
    torch.save({"a": first, "b": second, "c": channels}, tmp_path / "q.pt")
    stored = fingerprint(statedict.open(tmp_path / "q.pt")).tensors
    assert list(stored.values()) == [fingerprint(Tensor(each)) for each in (first, second, channels)]
    assert len(set(stored.values())) == 3


def test_tensors_without_values_are_named_and_count() -> None:
    model = statedict.open({"m": torch.ones(3, device="meta"), "d": torch.ones(2)})
    found = fingerprint(model)
    assert list(found.tensors) == ["d"]
    assert "without its values" in found.skipped["m"]
    assert found.model == digest_of_all({"d": found.tensors["d"], "m": "none"})
    assert fingerprints({"m": model.get_parameter("m")}) == {}
    with pytest.raises(TypeError, match="without its values"):
        fingerprint(Tensor(torch.ones(3, device="meta")))


def test_patterns_and_conditions_choose() -> None:
    model = statedict.open(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    assert list(fingerprint(model, "0.*", where="ndim == 1").tensors) == ["0.bias"]
    with pytest.raises(PatternError):
        fingerprint(model, "2.*")


def test_names_cannot_forge_lines() -> None:
    """One tensor whose name holds a line's end is not two tensors."""
    digest = "blake3:" + "0" * 64
    two = Fingerprint("blake3", (Print("a", "u1", (), digest), Print("b", "u1", (), digest)))
    one = Fingerprint("blake3", (Print(f"a\n{digest}  b", "u1", (), digest),))
    assert two != one
    assert Fingerprint("blake3", two.prints[::-1]) == two
    assert hash(Fingerprint("blake3", two.prints[::-1])) == hash(two)


def test_differences() -> None:
    before = fingerprint(statedict.open({"a": torch.ones(2), "b": torch.ones(2), "c": torch.ones(2)}))
    after = fingerprint(statedict.open({"c": torch.zeros(2), "d": torch.ones(2), "a": torch.ones(2)}))
    found = [(each.name, each.what) for each in before.differences(after)]
    assert found == [("b", "missing"), ("c", "changed"), ("d", "added")]
    assert before.differences(before) == []
    with pytest.raises(ValueError, match="blake3 and sha256"):
        before.differences(fingerprint(statedict.open({}), algorithm="sha256"))


def test_other_hashes_and_missing_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="`md5` is no hash; expected one of blake3, xxh3, sha256"):
        fingerprint(Tensor(torch.ones(2)), algorithm="md5")
    for algorithm, library in (("blake3", "blake3"), ("xxh3", "xxhash")):
        hash_of.cache_clear()
        monkeypatch.setitem(__import__("sys").modules, library, None)
        with pytest.raises(MissingExtraError, match=f"{library}.*not installed.*pip install"):
            fingerprint(Tensor(torch.ones(2)), algorithm=algorithm)
    hash_of.cache_clear()


def test_the_result_is_printed_and_compared_as_its_digest() -> None:
    found: Any = fingerprint(statedict.open({"a": torch.ones(2)}))
    assert str(found) == found.model
    assert repr(found) == f"Fingerprint('{found.model}', 1 tensors)"
    assert found != found.model
    assert set(DTYPES) >= {each.dtype for each in found.prints}
