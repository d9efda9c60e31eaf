"""`Tensor` against torch and numpy: values, views, errors, and how many bytes are read for them."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from statedict.dtypes import DTYPES, dtype
from statedict.expressions.nodes import recast as cast
from statedict.index import Index, TensorInfo
from statedict.source import BytesSource
from statedict.tree.reading import encode
from statedict.tree.tensor import Buffer, Parameter, Tensor
from tests.tensors import described


class CountingSource(BytesSource):
    """Bytes that count how many of them are read, and how often."""

    __slots__ = ("amount", "reads")

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.amount = self.reads = 0

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        self.amount += len(buffer)
        self.reads += 1
        super().readinto_at(offset, buffer)


TORCH_TYPES = [name for name in DTYPES if hasattr(torch, name) and not DTYPES[name].quantized]


@pytest.mark.parametrize("name", TORCH_TYPES)
@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
def test_every_type_goes_to_torch_and_back_bit_for_bit(name: str) -> None:
    data = torch.arange(64, dtype=torch.uint8) % (2 if name == "bool" else 64)
    value = data.view(getattr(torch, name))
    ours = Tensor(value)
    assert ours.dtype is DTYPES[name]
    assert ours.torch().dtype == value.dtype
    assert torch.equal(ours.torch().view(torch.uint8), data)
    assert bytes(encode(ours.numpy(), ours.dtype)) == bytes(data)


@pytest.mark.parametrize("name", [name for name in TORCH_TYPES if name.startswith(("float", "bfloat", "complex"))])
@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
def test_values_are_those_that_torch_reads(name: str) -> None:
    if name == "float4_e2m1fn_x2":
        pytest.skip("numpy gets the bytes: it has no pair of float4")
    width = DTYPES[name].itemsize
    data = torch.from_numpy(np.random.default_rng(0).integers(0, 256, 512 * width, "u1"))
    value = data.view(getattr(torch, name))
    wide = torch.complex128 if value.is_complex() else torch.float64
    expected = (value.to(torch.complex64) if name == "complex32" else value).to(wide).numpy()
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(Tensor(value).numpy().astype(expected.dtype), expected)
    assert str(Tensor(value).tolist()) == str(expected.tolist())


INDICES: st.SearchStrategy[Any] = st.lists(
    st.one_of(st.integers(-5, 5), st.just(...), st.none(), st.builds(slice, *[st.none() | st.integers(-6, 6)] * 2,
              st.none() | st.integers(-1, 3))),
    max_size=4,
).map(tuple).filter(lambda index: index.count(...) < 2)  # fmt: skip
STRIDED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "plain": lambda x: x,
    "transposed": lambda x: x.transpose(0, 2),
    "a part": lambda x: x[1:, :, ::2],
    "expanded": lambda x: x[:, :1].expand(-1, 3, -1),
    "unfolded": lambda x: x.flatten().unfold(0, 6, 3),
    "scalar": lambda x: x[0, 0, 0],
    "empty": lambda x: x[:, :0],
}
RAISED = (IndexError, ValueError, TypeError)


@pytest.mark.parametrize("layout", STRIDED)
@given(index=INDICES)
def test_indexing_is_torchs(layout: str, index: Any) -> None:
    live = STRIDED[layout](torch.arange(60.0).reshape(3, 4, 5))
    ours = Tensor(live)
    try:
        expected = live[index]
    except RAISED as error:
        with pytest.raises(type(error)) as raised:
            ours[index]
        assert str(raised.value) == str(error)  # noqa: PT017
        return
    view = ours[index]
    Index("", BytesSource(b""), {"t": view.info}).validate()
    assert view.shape == tuple(expected.shape)
    assert view.stride() == expected.stride()
    assert view.is_contiguous() == expected.is_contiguous()
    np.testing.assert_array_equal(view.numpy(), expected.numpy())
    if expected.numel():
        assert view.storage_offset() == expected.storage_offset()


@pytest.mark.parametrize("index", [[0], np.array([0]), True, "a", (slice(None), [1])])
def test_other_indices_point_to_numpy(index: Any) -> None:
    with pytest.raises(TypeError, match=r"use `.numpy\(\)\[\.\.\.\]`"):
        Tensor(np.zeros((2, 2)))[index]


def test_a_row_reads_only_its_bytes() -> None:
    source = CountingSource(bytes(4 * 1000 * 1000))
    tensor = described(source, "float32", (1000, 1000))
    assert tensor[3].numpy().shape == (1000,)
    assert (source.amount, source.reads) == (4000, 1)
    tensor[3:5, 10:20].numpy()
    assert source.amount - 4000 < 2**16


def test_a_column_of_wide_rows_reads_only_its_elements() -> None:
    source = CountingSource(bytes(4 * 100 * 20_000))
    assert described(source, "float32", (100, 20_000))[:, 7].numpy().shape == (100,)
    assert (source.amount, source.reads) == (400, 100)


def test_a_column_of_narrow_rows_is_read_in_few_pieces() -> None:
    data = np.arange(1000 * 1000, dtype="f4").reshape(1000, 1000)
    source = CountingSource(data.tobytes())
    column = described(source, "float32", (1000, 1000))[::3, 7]
    np.testing.assert_array_equal(column.numpy(), data[::3, 7])
    assert source.reads <= 2
    assert source.amount <= source.size


@given(st.integers(0, 3), st.randoms(use_true_random=False))
def test_far_apart_elements_are_gathered_right(dropped: int, random: Any) -> None:
    data = np.arange(40 * 7 * 6000, dtype="u2").reshape(40, 7, 6000)
    order = random.sample(range(3), 3)
    view = Tensor(torch.from_numpy(data.view("i2")).permute(*order))
    index = tuple(slice(random.randrange(3), None, random.randrange(1, 5)) for _ in range(3 - dropped))
    np.testing.assert_array_equal(view[index].numpy().view("u2"), data.transpose(*order)[index])


CASTS = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "int32",
    "uint8",
    "bool",
    "complex64",
]


@pytest.mark.filterwarnings("ignore:Casting complex values to real")
@pytest.mark.parametrize("old", CASTS)
@pytest.mark.parametrize("new", CASTS)
def test_copy_converts_as_torch_does(old: str, new: str) -> None:
    values = torch.linspace(0, 100, 301).to(getattr(torch, old)).reshape(7, 43).t()
    expected = torch.empty(43, 7, dtype=getattr(torch, new)).copy_(values)
    ours = Tensor(torch.empty(43, 7, dtype=getattr(torch, new))).copy_(values)
    assert torch.equal(ours.torch().view(torch.uint8), expected.contiguous().view(torch.uint8))
    assert torch.equal(ours[3:9, 2].torch().view(torch.uint8), expected[3:9, 2].contiguous().view(torch.uint8))


def test_casts_are_lazy_and_read_any_bytes() -> None:
    source = CountingSource(np.arange(1000, dtype="f4").tobytes())
    info = cast(described(source, "float32", (1000,)).info, dtype("float16"))
    assert source.amount == 0
    assert info.extent is not None
    whole = np.arange(1000, dtype="f2").tobytes()
    assert info.extent.read() == whole
    assert info.extent.source.read_at(3, 7) == whole[3:10]
    assert pickle.loads(pickle.dumps(info)).extent.read() == whole
    with pytest.raises(TypeError, match="cannot become"):
        cast(info, dtype("f4"))


def test_numbers_and_truth() -> None:
    one = Tensor(np.array([2.5], "f4"))
    assert (one.item(), float(one), int(one), bool(one)) == (2.5, 2.5, 2, True)
    assert type(Tensor(torch.ones((), dtype=torch.bfloat16)).item()) is float
    many = Tensor(np.zeros(3))
    for call in (many.item, lambda: float(many)):
        with pytest.raises(RuntimeError, match="a Tensor with 3 elements cannot be converted to Scalar"):
            call()
    with pytest.raises(RuntimeError, match="Boolean value of Tensor with more than one value is ambiguous"):
        bool(many)
    scalar = Tensor(np.zeros(()))
    with pytest.raises(TypeError, match=r"len\(\) of a 0-d tensor"):
        len(scalar)
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        iter(scalar)
    assert [row.tolist() for row in Tensor(np.eye(2))] == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("dim", [-4, -3, 0, 2, 3])
def test_sizes(dim: int) -> None:
    live = torch.zeros(2, 3, 4).transpose(0, 1)
    ours = Tensor(live)
    assert (ours.size(), ours.stride(), ours.ndim, ours.dim()) == (tuple(live.shape), live.stride(), 3, 3)
    for theirs, mine in ((live.size, ours.size), (live.stride, ours.stride)):
        try:
            expected = theirs(dim)
        except IndexError as error:
            with pytest.raises(IndexError) as raised:
                mine(dim)
            assert str(raised.value) == str(error)  # noqa: PT017
        else:
            assert mine(dim) == expected


def test_arrays_share_memory_and_results_do_not() -> None:
    array = np.zeros(4, "f4")
    tensor, live = Tensor(array), torch.zeros(4)
    seen = Tensor(live)
    array[0], live[0] = 1, 2
    assert (tensor[0].item(), seen[0].item()) == (1, 2)
    read = tensor.numpy()
    read[1] = 5
    assert read.flags.owndata
    assert array[1] == 0
    assert np.asarray(tensor, dtype="f8").dtype == np.float64
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(tensor, copy=False)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 3), ">f4"), np.arange(6).reshape(2, 3).T, np.float32(3), np.zeros((0, 2), "?")]
)
def test_any_array_becomes_a_tensor(array: Any) -> None:
    np.testing.assert_array_equal(Tensor(array).numpy(), array)


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([None]), [1.0], 3, None])
def test_what_is_no_array_does_not(value: Any) -> None:
    with pytest.raises(TypeError, match="expected"):
        Tensor(value)


def test_roles() -> None:
    parameter = Parameter(np.zeros((2, 3), "f4"))
    assert parameter.requires_grad
    assert isinstance(parameter.torch(), torch.nn.Parameter)
    assert not parameter.detach().requires_grad
    assert type(parameter.detach()) is Tensor
    assert Parameter().shape == (0,)
    assert not Buffer(np.zeros(2), persistent=False).persistent
    for call in (lambda: Parameter(np.zeros(2, "i4")), Tensor(np.zeros(2, "i4")).requires_grad_):
        with pytest.raises(RuntimeError, match=r"[Oo]nly Tensors of floating point"):
            call()


def test_copies_share_what_they_describe() -> None:
    buffer = Buffer(np.arange(3.0), persistent=False)
    for again in (copy.copy(buffer), copy.deepcopy(buffer)):
        assert again is not buffer
        assert again.info is buffer.info
        assert not again.persistent
    unpickled = pickle.loads(pickle.dumps(buffer))
    assert type(unpickled) is Buffer
    assert unpickled.tolist() == [0.0, 1.0, 2.0]


def test_repr_is_one_short_line() -> None:
    assert repr(Tensor(np.zeros((2, 3), "f4"))) == "Tensor(float32, (2, 3))"
    assert (
        repr(Parameter(TensorInfo("fc.weight", dtype("bf16"), None, None)))
        == "Parameter(`fc.weight`, bfloat16, uninitialised)"
    )
    assert repr(Tensor(torch.eye(2).to_sparse())) == "Tensor(float32, (2, 2), sparse_coo)"
