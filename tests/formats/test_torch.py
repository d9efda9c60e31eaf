"""Every kind of tensor that torch writes, in each of its formats, against the live one."""

import io
import subprocess
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.masked
from torch.nn.utils import parametrizations, prune

from statedict.dtypes import DTYPES
from statedict.index import Index, TensorInfo
from statedict.opaque import Opaque
from tests.formats.stored import (
    assert_same,
    assert_same_tensors,
    elements,
    index_of,
    loaded,
    saved,
    saved_in_stream,
)

Save = Callable[..., bytes]
both = pytest.mark.parametrize("save", [saved, saved_in_stream], ids=["zip", "stream"])
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


def optimizers() -> dict[str, Any]:
    net = torch.nn.Linear(2, 2)
    adam = torch.optim.Adam(net.parameters(), lr=0.1)
    net(torch.ones(1, 2)).sum().backward()
    adam.step()
    return {"net": net, "adam": adam, "scheduler": torch.optim.lr_scheduler.StepLR(adam, 3)}


@both
def test_a_training_checkpoint(save: Save) -> None:
    live = optimizers()
    checkpoint = {
        "model": live["net"].state_dict(),
        "optimizer": live["adam"].state_dict(),
        "scheduler": live["scheduler"].state_dict(),
        "scaler": torch.amp.GradScaler("cpu").state_dict(),
        "rng": torch.get_rng_state(),
        "callbacks": {"ModelCheckpoint{'monitor': 'val.loss'}": {"best": torch.tensor(0.5), "path": "a.ckpt"}},
        "epoch": 3,
    }
    index = index_of(save(checkpoint))
    state = live["adam"].state_dict()["state"]
    expected = {f"model.{name}": tensor for name, tensor in live["net"].state_dict().items()}
    expected |= {
        f"optimizer.state.{key}.{name}": tensor for key, held in state.items() for name, tensor in held.items()
    }
    expected |= {
        "rng": torch.get_rng_state(),
        "callbacks.ModelCheckpoint{'monitor': 'val.loss'}.best": torch.tensor(0.5),
    }
    assert_same_tensors(index, expected)
    assert index.modules[""].attributes["epoch"] == 3
    assert index.modules["optimizer"].attributes["param_groups"][0]["params"] == [0, 1]
    assert index.modules[""].attributes["scheduler"]["step_size"] == 3
    assert index.modules["model"].version == 1


@both
def test_an_optimizer_itself(save: Save) -> None:
    live = optimizers()
    index = index_of(save(live["adam"]))
    assert index.modules[""].class_name == "torch.optim.adam.Adam"
    assert_same(index.tensors["param_groups.0.params.0"], live["net"].weight)
    assert_same(index.tensors["state.1.exp_avg"], live["adam"].state[live["net"].bias]["exp_avg"])


MODULES: dict[str, Callable[[], torch.nn.Module]] = {
    "linear": lambda: torch.nn.Linear(2, 3),
    "batch norm": lambda: torch.nn.BatchNorm2d(3),
    "lstm": lambda: torch.nn.LSTM(2, 3, 2),
    "no weights": lambda: torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Identity()),
    "transformer": lambda: torch.nn.TransformerEncoderLayer(4, 2, 8),
    "weight norm": lambda: parametrizations.weight_norm(torch.nn.Linear(2, 3)),
    "pruned": lambda: prune.l1_unstructured(torch.nn.Linear(2, 3), "weight", 0.5),
    "traced": lambda: torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())),
    "float16": lambda: torch.nn.Linear(2, 3).half(),
}


@both
@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
@pytest.mark.parametrize("name", sorted(set(MODULES) - {"weight norm"}))
def test_whole_modules(name: str, save: Save) -> None:
    module = MODULES[name]()
    index = index_of(save(module))
    expected = dict(module.named_parameters()) | dict(module.named_buffers())
    assert set(index.tensors) == set(expected)
    for key, tensor in expected.items():
        assert_same(index.tensors[key], tensor)
    assert list(index.modules) == [path for path, _ in module.named_modules()]
    if name != "traced":
        kinds = [type(each).__name__ for each in module.modules()]
        assert [info.kind for info in index.modules.values()] == kinds


@both
def test_a_state_dict_of_parametrised_modules(save: Save) -> None:
    state = MODULES["weight norm"]().state_dict()
    assert_same_tensors(index_of(save(state)), state)


@pytest.mark.slow
def test_a_module_whose_class_nobody_has(tmp_path: Path) -> None:
    """Saved by another program from its `__main__`; here there is no such class."""
    code = """
import collections, dataclasses, enum, sys, torch
class Mode(enum.Enum):
    FAST = "fast"
@dataclasses.dataclass
class Config:
    width: int
    mode: Mode
Pair = collections.namedtuple("Pair", "left right")
class Block(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.scale = config, torch.nn.Parameter(torch.full((2,), 3.0))
        self.register_buffer("seen", torch.tensor(5), persistent=False)
        self.pair = Pair(1, torch.ones(2))
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block(Config(7, Mode.FAST))
        self.again = self.block
        self.block.__dict__["parent"] = self
for path, options in ((sys.argv[1], {}), (sys.argv[2], {"_use_new_zipfile_serialization": False})):
    torch.save(Net().eval(), path, **options)
"""
    paths = tmp_path / "zip.pt", tmp_path / "stream.pt"
    subprocess.run([sys.executable, "-c", code, *map(str, paths)], check=True, timeout=60)
    for path in paths:
        with pytest.raises(AttributeError):
            torch.load(path, weights_only=False)
        _assert_net(index_of(path.read_bytes()))


def _assert_net(index: Index) -> None:
    block = index.modules["block"]
    assert list(index.modules) == ["", "block", "again"]
    assert index.modules["again"] is block
    assert (index.modules[""].class_name, block.class_name) == ("__main__.Net", "__main__.Block")
    assert not index.modules[""].training
    assert (block.parameters, block.buffers, block.non_persistent) == (("scale",), ("seen",), {"seen"})
    assert_same(index.tensors["block.scale"], torch.nn.Parameter(torch.full((2,), 3.0)))
    assert_same(index.tensors["block.seen"], torch.tensor(5))
    config: Any = block.attributes["config"]
    assert config.width == 7
    assert repr(config.mode) == "__main__.Mode('fast')"
    pair: Any = block.attributes["pair"]
    assert type(pair) is Opaque
    assert_same(list(pair.args or ())[1], torch.ones(2))
    assert "Net" in repr(block.attributes["parent"])


@both
def test_extra_state_belongs_to_its_module(save: Save) -> None:
    class Extra(torch.nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"calls": 3}

    net = torch.nn.Sequential(OrderedDict(inner=Extra(2, 2)))
    index = index_of(save(net.state_dict()))
    assert list(index.tensors) == ["inner.weight", "inner.bias"]
    assert index.modules["inner"].attributes["_extra_state"] == {"calls": 3}


@both
def test_modules_without_tensors_are_told_by_a_state_dict(save: Save) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.BatchNorm1d(2))
    index = index_of(save(net.state_dict()))
    assert set(index.modules) == {"", "0", "1", "2"}
    assert [index.modules[name].version for name in ("", "0", "1", "2")] == [1, 1, 1, 2]


@both
def test_a_state_dict_whose_names_were_changed_tells_of_no_modules(save: Save) -> None:
    state = torch.nn.Sequential(torch.nn.Linear(2, 2)).state_dict()
    renamed = OrderedDict((f"module.{name}", tensor) for name, tensor in state.items())
    renamed._metadata = state._metadata  # type: ignore[attr-defined]
    assert list(index_of(save(renamed)).modules) == [""]


def test_what_is_saved_into_the_middle_of_a_file_is_read_from_there(tmp_path: Path) -> None:
    """`torch.save` to an open file that has something in it already: torch reads it from that position only."""
    path = tmp_path / "net.pt"
    with path.open("wb") as file:
        file.write(b"x" * 1000)
        torch.save({"w": torch.arange(3)}, file)
    data = path.read_bytes()
    assert loaded(data[1000:])["w"].tolist() == [0, 1, 2]
    assert_same(index_of(data[1000:]).tensors["w"], torch.arange(3))
    assert_same(index_of(data, "torch").tensors["w"], torch.arange(3))


def test_two_files_in_a_row_are_the_first_in_the_older_format() -> None:
    data = saved_in_stream({"a": torch.ones(1)}) + saved_in_stream({"b": torch.ones(2)})
    buffer = io.BytesIO(data)
    assert list(torch.load(buffer, weights_only=False)) == ["a"]
    assert list(index_of(data).tensors) == ["a"]
