"""Every kind of tensor that torch writes, in each of its formats, against the live one."""

import warnings
from typing import Any

import pytest
import torch
import torch.masked

from statedict.dtypes import DTYPES
from statedict.index import TensorInfo
from tests.formats.stored import (
    assert_same,
    assert_same_tensors,
    elements,
    index_of,
    loaded,
    saved,
)
from tests.formats.torch_saves import Save, both

quantized = pytest.mark.filterwarnings("ignore:torch.quantize_per:UserWarning", "ignore:TypedStorage:UserWarning")


def one(save: Save, tensor: Any) -> TensorInfo:
    return index_of(save({"w": tensor})).tensors["w"]


def storable() -> list[torch.dtype]:
    """All element types of this torch that it can save."""
    found: set[torch.dtype] = {each for each in vars(torch).values() if isinstance(each, torch.dtype)}
    return sorted((dtype for dtype in found if _savable(dtype)), key=str)


def _savable(dtype: torch.dtype) -> bool:
    try:
        saved(_raw(dtype))
    except (KeyError, RuntimeError, TypeError):
        return False
    return True


def _raw(dtype: torch.dtype) -> torch.Tensor:
    """Bytes 0 to 15, as the storage of a tensor of that type."""
    raw = torch.arange(16, dtype=torch.uint8)
    if dtype is torch.qint32:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # quantised types are deprecated
            return torch.quantize_per_tensor(torch.arange(4.0), 0.5, 3, dtype)
    return raw.bool() if dtype is torch.bool else raw.view(dtype)


TYPES = storable()


def test_torch_has_the_types_that_we_know() -> None:
    names = {str(dtype).removeprefix("torch.") for dtype in TYPES}
    assert names <= set(DTYPES)
    assert len(names) >= 32


@both
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type(dtype: torch.dtype, save: Save) -> None:
    tensor = _raw(dtype)
    info = one(save, tensor)
    assert str(info.dtype) == str(dtype).removeprefix("torch.")
    assert info.shape == tuple(tensor.shape)
    assert info.dtype.itemsize == dtype.itemsize
    assert info.extent is not None
    if dtype is torch.qint32:
        assert info.extent.read() == tensor.int_repr().numpy().tobytes()
    else:
        raw = torch.arange(16, dtype=torch.uint8)
        raw = raw.bool().byte() if dtype is torch.bool else raw
        assert info.extent.read() == raw.numpy().tobytes()[: info.extent.size]
        assert info.extent.size == info.nbytes


def views() -> dict[str, torch.Tensor]:
    matrix = torch.arange(24.0).reshape(4, 6)
    return {
        "transposed": matrix.t(),
        "columns": matrix[:, 1:3],
        "every other": matrix[::2, ::3],
        "a column": matrix[:, 2],
        "an element": matrix[1, 2],
        "expanded": torch.ones(1, 3).expand(5, 3),
        "a constant": torch.tensor(7.0).expand(2, 3),
        "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "diagonal": torch.arange(9.0).reshape(3, 3).diagonal(),
        "overlapping": torch.arange(10.0).unfold(0, 4, 2),
        "a scalar": torch.tensor(3),
        "nothing": torch.empty(0),
        "nothing at the end": torch.arange(4.0)[4:],
        "nothing in a matrix": matrix[:, 2:2],
        "permuted": torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1),
        "one of a size": torch.arange(6.0).reshape(2, 1, 3).transpose(0, 1),
        "real": torch.view_as_real(torch.randn(3, dtype=torch.complex64)),
        "imaginary": torch.randn(3, dtype=torch.complex64).imag,
        "conjugate": torch.randn(3, dtype=torch.complex64).conj(),
        "negative": torch.randn(3, dtype=torch.complex64).conj().imag,
        "as bytes": torch.arange(3.0).view(torch.uint8),
        "64 dimensions": torch.ones([1] * 64),
    }


@both
@pytest.mark.parametrize("name", list(views()))
def test_every_view(name: str, save: Save) -> None:
    tensor = views()[name]
    data = save({"w": tensor})
    assert_same(index_of(data).tensors["w"], tensor)
    assert_same(index_of(data).tensors["w"], loaded(data)["w"])


@both
def test_slices_of_one_storage_share_it(save: Save) -> None:
    whole = torch.arange(20.0)
    tensors = {"first": whole[:5], "second": whole[5:], "matrix": whole.view(4, 5), "whole": whole, "same": whole[:]}
    index = index_of(save(tensors))
    assert_same_tensors(index, tensors)
    assert {info.storage or info.extent for info in index.tensors.values()} == {index.tensors["whole"].extent}
    assert index.tensors["same"] is index.tensors["whole"]


@both
def test_gradients_are_asked_for_where_they_were(save: Save) -> None:
    tensors = {"plain": torch.ones(1), "leaf": torch.ones(1, requires_grad=True)}
    tensors["parameter"] = torch.nn.Parameter(torch.ones(1))
    tensors["frozen"] = torch.nn.Parameter(torch.ones(1), requires_grad=False)
    index = index_of(save(tensors))
    assert_same_tensors(index, tensors)
    assert index.modules[""].parameters == ("parameter", "frozen")


@both
@pytest.mark.parametrize("shape", [(), (3, 4), (0,)])
def test_tensors_of_the_meta_device(shape: tuple[int, ...], save: Save) -> None:
    info = one(save, torch.empty(shape, device="meta", dtype=torch.float16))
    assert (info.shape, str(info.dtype), info.device) == (shape, "float16", "meta")
    assert info.extent is None or info.extent.size == 0


SPARSE = {
    "sparse_coo": lambda: torch.eye(4).to_sparse(),
    "sparse_coo, hybrid": lambda: torch.ones(3, 4, 2).to_sparse(2),
    "sparse_coo, twice": lambda: torch.sparse_coo_tensor(
        torch.tensor([[1, 1], [2, 2]]), torch.tensor([3.0, 4.0]), (4, 4)
    ),
    "sparse_coo, empty": lambda: torch.zeros(3, 3).to_sparse(),
    "sparse_csr": lambda: torch.eye(4).to_sparse_csr(),
    "sparse_csc": lambda: torch.eye(4).to_sparse_csc(),
    "sparse_bsr": lambda: torch.eye(4).to_sparse_bsr((2, 2)),
    "sparse_bsc": lambda: torch.eye(4).to_sparse_bsc((2, 2)),
}
PARTS = {
    "sparse_coo": ("indices", "values"),
    "sparse_csr": ("crow_indices", "col_indices", "values"),
    "sparse_bsr": ("crow_indices", "col_indices", "values"),
    "sparse_csc": ("ccol_indices", "row_indices", "values"),
    "sparse_bsc": ("ccol_indices", "row_indices", "values"),
}


@both
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("name", SPARSE)
def test_sparse_tensors_are_made_of_parts(name: str, save: Save) -> None:
    tensor, layout = SPARSE[name](), name.partition(",")[0]
    info = one(save, tensor)
    assert (info.encoding.layout, info.shape, info.extent) == (layout, tuple(tensor.shape), None)
    assert str(info.dtype) == "float32"
    assert tuple(info.encoding.parts) == PARTS[layout]
    for part in PARTS[layout]:
        live = getattr(tensor, f"_{part}" if layout == "sparse_coo" else part)()
        assert_same(info.encoding.parts[part], live)
        assert info.encoding.parts[part].name == f"w.{part}"
    assert info.nbytes == sum(part.nbytes for part in info.encoding.parts.values())
    if layout == "sparse_coo":
        assert info.encoding.attributes["is_coalesced"] is tensor.is_coalesced()


@both
@quantized
def test_tensors_quantised_as_a_whole(save: Save) -> None:
    tensor = torch.quantize_per_tensor(torch.arange(6.0).reshape(2, 3), 0.5, 3, torch.quint8)
    info = one(save, tensor.t())
    assert elements(info) == tensor.t().int_repr().contiguous().numpy().tobytes()
    assert info.stride == (1, 3)
    assert info.dtype.quantized
    assert info.encoding.attributes == {"qscheme": "per_tensor_affine", "scale": 0.5, "zero_point": 3}


@both
@quantized
@pytest.mark.parametrize(
    ("dtype", "zero_points"),
    [
        (torch.qint8, torch.tensor([1, 2])),
        (torch.quint8, torch.tensor([1.0, 2.0])),
        (torch.quint4x2, torch.tensor([1.0, 2.0])),
    ],
    ids=str,
)
def test_tensors_quantised_by_channel(dtype: Any, zero_points: torch.Tensor, save: Save) -> None:
    scales = torch.tensor([0.5, 0.25])
    tensor = torch.quantize_per_channel(torch.arange(6.0).reshape(2, 3), scales, zero_points, 0, dtype)
    info = one(save, tensor)
    assert info.encoding.attributes == {"qscheme": "per_channel_affine", "axis": 0}
    assert_same(info.encoding.parts["scales"], tensor.q_per_channel_scales())
    assert_same(info.encoding.parts["zero_points"], tensor.q_per_channel_zero_points())
    assert info.extent is not None
    if dtype is not torch.quint4x2:
        assert elements(info) == tensor.int_repr().numpy().tobytes()
    else:
        assert info.extent.size == 3


@both
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors(save: Save) -> None:
    tensor = torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(4, 3)])
    info = one(save, tensor)
    assert info.encoding.layout == "nested"
    assert_same(info.encoding.parts["buffer"], torch.cat([torch.ones(6), torch.zeros(12)]))
    assert info.encoding.parts["nested_size"].shape == (2, 2)


@both
def test_jagged_tensors(save: Save) -> None:
    tensor: Any = torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(4, 3)], layout=torch.jagged)
    info = one(save, tensor)
    assert info.encoding.layout == "jagged"
    assert_same(info.encoding.parts["values"], tensor.values())
    assert_same(info.encoding.parts["offsets"], tensor.offsets())


class Tagged(torch.Tensor):
    """A subclass that this process can save and, in the tests, nobody could load."""


class Wrapper(torch.Tensor):
    """A subclass without a storage, as torchao's and DTensor are: it holds two tensors."""

    @staticmethod
    def __new__(cls: Any, packed: torch.Tensor, scale: torch.Tensor) -> "Wrapper":
        made = torch.Tensor._make_wrapper_subclass(cls, packed.shape, dtype=torch.bfloat16)
        made.packed, made.scale, made.group = packed, scale, 32
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return args[0]
        raise NotImplementedError(func)

    packed: torch.Tensor
    scale: torch.Tensor
    group: int

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return "Wrapper()"


@both
def test_subclasses_keep_their_class_and_their_attributes(save: Save) -> None:
    bare, tagged = torch.ones(2).as_subclass(Tagged), torch.arange(3.0).as_subclass(Tagged)
    tagged.tag, tagged.other = "x", torch.zeros(1)  # type: ignore[attr-defined]
    index = index_of(save({"bare": bare, "tagged": tagged}))
    assert_same(index.tensors["bare"], bare)
    assert_same(index.tensors["tagged"], tagged)
    assert index.tensors["bare"].encoding.kind == f"{__name__}.Tagged"
    attributes = index.tensors["tagged"].encoding.attributes
    assert attributes["tag"] == "x"
    assert_same(attributes["other"], torch.zeros(1))


class Stated(torch.Tensor):
    """A subclass whose state is of a form of its own."""

    def __getstate__(self) -> Any:
        return "version 1", [1, 2], self.__dict__


@both
def test_a_subclass_keeps_a_state_of_its_own_form(save: Save) -> None:
    stated = torch.ones(2).as_subclass(Stated)
    stated.tag = "x"  # type: ignore[attr-defined]
    info = one(save, stated)
    assert_same(info, torch.ones(2))
    assert info.encoding.attributes["state"] == ("version 1", [1, 2], {"tag": "x"})


@both
def test_subclasses_without_a_storage_are_made_of_parts(save: Save) -> None:
    wrapper = Wrapper(torch.arange(6, dtype=torch.uint8).reshape(2, 3), torch.tensor(0.5))
    info = one(save, wrapper)
    assert (info.shape, str(info.dtype), info.extent) == ((2, 3), "bfloat16", None)
    assert info.encoding.kind == f"{__name__}.Wrapper"
    assert_same(info.encoding.parts["packed"], wrapper.packed)
    assert_same(info.encoding.parts["scale"], wrapper.scale)
    assert info.encoding.attributes["group"] == 32


@both
def test_masked_tensors(save: Save) -> None:
    with pytest.warns(UserWarning, match="prototype"):
        tensor = torch.masked.masked_tensor(torch.arange(3.0), torch.tensor([True, False, True]))
    info = one(save, tensor)
    assert info.encoding.kind == "torch.masked.maskedtensor.core.MaskedTensor"
    assert_same(info.encoding.parts["_masked_data"], torch.arange(3.0))


@both
def test_a_parameters_attributes(save: Save) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.tag, parameter.partner = "hi", torch.zeros(3)  # type: ignore[attr-defined]
    info = one(save, parameter)
    assert_same(info, parameter)
    assert info.encoding.attributes["tag"] == "hi"
    assert_same(info.encoding.attributes["partner"], torch.zeros(3))


@both
def test_lazy_parameters_have_no_shape(save: Save) -> None:
    index = index_of(save({"p": torch.nn.UninitializedParameter(), "b": torch.nn.UninitializedBuffer()}))
    assert [info.shape for info in index.tensors.values()] == [None, None]
    assert index.modules[""].parameters == ("p",)


@both
@pytest.mark.filterwarnings("ignore:TypedStorage:UserWarning")
def test_storages_are_tensors_in_a_row(save: Save) -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    index = index_of(save({"typed": tensor.storage(), "tensor": tensor, "untyped": torch.ones(2).untyped_storage()}))
    assert_same(index.tensors["typed"], torch.arange(6.0))
    assert index.tensors["typed"].extent == index.tensors["tensor"].extent
    assert_same(index.tensors["untyped"], torch.ones(2).view(torch.uint8))
    assert_same(index_of(save(tensor.untyped_storage())).tensors["tensor"], torch.arange(6.0).view(torch.uint8))


@both
def test_plain_things_of_torch(save: Save) -> None:
    values = (
        index_of(
            save(
                {
                    "size": torch.Size([1, 2]),
                    "dtype": torch.float16,
                    "device": torch.device("cuda:1"),
                    "layout": torch.sparse_coo,
                    "scheme": torch.per_tensor_affine,
                    "function": torch.nn.functional.relu,
                    "class": torch.nn.Linear,
                }
            )
        )
        .modules[""]
        .attributes
    )
    assert values["size"] == (1, 2)
    assert values["dtype"] is DTYPES["float16"]
    assert (values["device"], values["layout"]) == ("cuda:1", "torch.sparse_coo")
    assert repr(values["scheme"]) == "torch.per_tensor_affine"
    assert repr(values["function"]) == "torch.nn.functional.relu"
    assert repr(values["class"]) == "torch.nn.modules.linear.Linear"
