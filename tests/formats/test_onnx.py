"""ONNX: a file by hand, then files by the reference library, and real ones."""

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import GraphProto, TensorProto, helper, numpy_helper

import statedict as sd
from statedict.errors import FormatError, StatedictError, UnknownFormatError
from statedict.formats._onnx_tensor import DATA_TYPES
from statedict.opaque import Opaque
from statedict.tree.layouts import dense
from statedict.tree.reading import read
from tests.formats.contract import FormatContract
from tests.formats.onnx_models import nested, roles, with_graph, with_initializers
from tests.formats.stored import CountingSource, elements, index_of
from tests.real_models import RealModel, models

BY_HAND = (
    b"\x08\x0a"  # ir_version 10
    b"\x12\x02me"  # producer_name
    b"\x3a\x44"  # the graph
    b"\x0a\x1d\x12\x01c\x22\x08Constant"  # a node with the output c,
    b"\x2a\x0e\x0a\x05value\x2a\x05\x10\x03\x4a\x01\x07"  # whose value is an int8 without dims: 7
    b"\x12\x01g"  # the graph's name
    b"\x2a\x11\x08\x02\x08\x01\x10\x0a\x42\x03a.w\x4a\x04\x00\x3c\x00\xc0"  # float16 (2, 1): 1.0 and -2.0
    b"\x5a\x0d\x0a\x01x\x12\x08\x0a\x06\x08\x01\x12\x02\x0a\x00"  # an input, of floats, with one dimension
    b"\x42\x02\x10\x15"  # opset_import 21
)
NUMBERS = sorted(set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED, TensorProto.STRING})


class TestContract(FormatContract):
    format = "onnx"
    padding = 4
    """What follows the graph: the version of the operators."""

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        return with_initializers(*(numpy_helper.from_array(tensor.numpy(), name) for name, tensor in tensors.items()))


def test_a_file_by_hand() -> None:
    index = index_of(BY_HAND)
    assert index.format == "onnx"
    weight, constant = index.tensors.values()
    assert (str(weight.dtype), weight.shape, elements(weight)) == ("float16", (2, 1), b"\x00\x3c\x00\xc0")
    assert (str(constant.dtype), constant.shape, elements(constant)) == ("int8", (), b"\x07")
    assert roles(index) == {"": ((), ("c",)), "a": (("w",), ())}
    assert index.modules[""].attributes == {
        "ir_version": 10, "producer_name": "me", "graph": "g", "opset_import": {"ai.onnx": 21}, "metadata_props": {},
        "inputs": {"x": {"dtype": "float32", "shape": (None,)}}, "outputs": {},
    }  # fmt: skip


# Tensors


def test_every_type_of_the_reference_is_known() -> None:
    assert set(DATA_TYPES) == set(NUMBERS)


def stored_elements(kind: int, count: int) -> Any:
    """Values of an element type: whole numbers that all of them have, or every bit pattern's worth."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    return (np.arange(count) % 2).astype(dtype) if dtype.kind == "b" else (np.arange(count) % 3 - 1).astype(dtype)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "numbers"])
@pytest.mark.parametrize("kind", NUMBERS, ids=TensorProto.DataType.Name)
def test_every_type(kind: int, raw: bool) -> None:
    values = stored_elements(kind, 15)
    if raw:
        proto = numpy_helper.from_array(values.reshape(3, 5), "w")
    else:
        proto = helper.make_tensor("w", kind, (3, 5), values)
        assert not proto.HasField("raw_data")
    info = index_of(with_initializers(proto)).tensors["w"]
    found, expected = read(info), numpy_helper.to_array(proto)
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.data())
def test_whole_numbers_are_those_of_the_reference(numbers: list[int], data: st.DataObject) -> None:
    proto = helper.make_tensor("w", TensorProto.INT64, [len(numbers)], numbers)
    info = index_of(with_initializers(proto)).tensors["w"]
    np.testing.assert_array_equal(read(info), np.array(numbers, np.int64))
    if info.extent is not None and info.extent.size:
        first = data.draw(st.integers(0, info.extent.size - 1))
        size = data.draw(st.integers(0, info.extent.size - first))
        expected = np.array(numbers, "<i8").tobytes()[first : first + size]
        assert info.extent.source.read_at(first, size) == expected
        assert pickle.loads(pickle.dumps(info.extent)).read() == np.array(numbers, "<i8").tobytes()


def test_many_whole_numbers_are_decoded_block_by_block() -> None:
    numbers = np.random.default_rng(0).integers(0, 1 << 40, 400_000)
    proto = helper.make_tensor("w", TensorProto.INT64, [400_000], numbers)
    assert proto.ByteSize() > 2 << 20
    np.testing.assert_array_equal(read(index_of(with_initializers(proto)).tensors["w"]), numbers)


def apart(number: int, wire: int, values: list[bytes]) -> bytes:
    return b"".join(bytes([number << 3 | wire]) + value for value in values)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (7, apart(7, 0, [b"\x01", b"\x02", b"\x83\x01"])),
        (7, b"\x3a\x02\x01\x02" + apart(7, 0, [b"\x83\x01"])),
        (7, b"\x3a\x01\x01" + b"\x3a\x03\x02\x83\x01"),
        (1, apart(4, 5, [np.float32(value).tobytes() for value in (1, 2, 131)])),
        (1, b"\x22\x04" + np.float32(1).tobytes() + b"\x22\x08" + np.array([2, 131], "<f4").tobytes()),
        (11, apart(10, 1, [np.float64(value).tobytes() for value in (1, 2, 131)])),
    ],
    ids=["varints apart", "packed and apart", "packed twice", "floats apart", "floats packed twice", "doubles apart"],
)
def test_numbers_need_not_be_packed_together(kind: int, fields: bytes) -> None:
    proto = b"\x08\x03\x10" + bytes([kind]) + b"\x42\x01w" + fields
    np.testing.assert_array_equal(numpy_helper.to_array(TensorProto.FromString(proto)), [1, 2, 131])
    graph = b"\x2a" + bytes([len(proto)]) + proto
    info = index_of(b"\x08\x0a\x3a" + bytes([len(graph)]) + graph).tensors["w"]
    np.testing.assert_array_equal(read(info), [1, 2, 131])


def test_values_that_lie_side_by_side_are_left_where_they_are() -> None:
    values = np.arange(3, dtype=np.float32)
    for proto in (numpy_helper.from_array(values, "w"), helper.make_tensor("w", TensorProto.FLOAT, (3,), values)):
        index = index_of(with_initializers(proto))
        extent = index.tensors["w"].extent
        assert extent is not None
        assert extent.source is index.source


def test_text_is_an_inert_attribute() -> None:
    text = TensorProto(name="words.table", data_type=TensorProto.STRING, dims=[2], string_data=[b"one", b"\xff"])
    index = index_of(with_initializers(text))
    assert not index.tensors
    found = index.modules["words"].attributes["table"]
    assert isinstance(found, Opaque)
    assert found.kwargs == {"dims": [2], "string_data": ["one", "\\xff"]}


def test_a_model_without_its_weights_still_has_their_shapes() -> None:
    info = index_of(with_initializers(TensorProto(name="w", data_type=1, dims=[2, 3]))).tensors["w"]
    assert (info.shape, info.extent, info.device) == ((2, 3), None, "meta")


@pytest.mark.parametrize("linear", [True, False], ids=["numbers", "rows"])
def test_sparse_initializers(linear: bool) -> None:
    values = numpy_helper.from_array(np.array([1.5, -2.0, 3.0], np.float32), "a.sparse")
    places = np.array([[0, 1], [1, 0], [1, 3]])
    indices = numpy_helper.from_array(places @ [4, 1] if linear else places, "a.indices")
    sparse = helper.make_sparse_tensor(values, indices, [2, 4])
    index = index_of(with_graph(GraphProto(sparse_initializer=[sparse])))
    info = index.tensors["a.sparse"]
    assert (info.encoding.layout, info.shape, str(info.dtype)) == ("sparse_coo", (2, 4), "float32")
    np.testing.assert_array_equal(dense(info), [[0, 1.5, 0, 0], [-2, 0, 0, 3]])
    assert roles(index)["a"] == (("sparse",), ())
    tensor = sd.Tensor(info).torch()
    assert tensor.is_sparse
    np.testing.assert_array_equal(tensor.to_dense().numpy(), dense(info))
    parts = info.encoding.parts["indices"]
    assert parts.extent is not None
    np.testing.assert_array_equal(read(parts), places.T)
    assert pickle.loads(pickle.dumps(parts.extent)).read() == parts.extent.read()


def test_sparse_indices_outside_the_shape() -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([8])), [2, 4])
    info = index_of(with_graph(GraphProto(sparse_initializer=[sparse]))).tensors["w"]
    with pytest.raises(FormatError, match=r"indices do not fit its shape"):
        dense(info)


# Damage

REFUSED = {
    "an unknown type": TensorProto(name="w", data_type=99, dims=[1], raw_data=bytes(4)),
    "no type": TensorProto(name="w", dims=[1], raw_data=bytes(4)),
    "a negative size": TensorProto(name="w", data_type=1, dims=[-1], raw_data=bytes(4)),
    "too many dims": TensorProto(name="w", data_type=1, dims=[1] * 1000, raw_data=bytes(4)),
    "sizes beyond all bounds": TensorProto(name="w", data_type=1, dims=[2**62, 2**62], raw_data=bytes(4)),
    "fewer bytes than the shape": TensorProto(name="w", data_type=1, dims=[2], raw_data=bytes(4)),
    "more bytes than the shape": TensorProto(name="w", data_type=1, dims=[2], raw_data=bytes(12)),
    "fewer floats than the shape": TensorProto(name="w", data_type=1, dims=[2], float_data=[1]),
    "fewer whole numbers than the shape": TensorProto(name="w", data_type=7, dims=[2**40], int64_data=[1]),
    "fewer half bytes than the shape": TensorProto(name="w", data_type=22, dims=[3], int32_data=[1]),
}


@pytest.mark.parametrize("proto", REFUSED.values(), ids=REFUSED.keys())
def test_a_tensor_that_contradicts_itself_is_refused(proto: TensorProto) -> None:
    with pytest.raises(FormatError, match=r"^net\.pt: tensor `w`") as caught:
        index_of(with_initializers(proto))
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


def test_whole_numbers_of_which_there_are_too_few() -> None:
    proto = helper.make_tensor("w", TensorProto.INT64, [3], [-1, -1, -1])
    proto.dims[0] = 4
    info = index_of(with_initializers(proto)).tensors["w"]
    with pytest.raises(FormatError, match="expected 32 bytes"):
        read(info)


def test_initializers_of_one_name_are_refused() -> None:
    proto = numpy_helper.from_array(np.ones(1, np.float32), "w")
    with pytest.raises(FormatError, match="`w` stands in it twice"):
        index_of(with_initializers(proto, proto))


def test_sparse_tensors_that_do_not_fit_are_refused() -> None:
    values = numpy_helper.from_array(np.ones(2, np.float32), "w")
    for places in (np.zeros(3, np.int64), np.zeros(2, np.int32), np.zeros((2, 3), np.int64)):
        sparse = onnx.SparseTensorProto(values=values, indices=numpy_helper.from_array(places), dims=[2, 4])
        with pytest.raises(FormatError, match="do not fit"):
            index_of(with_graph(GraphProto(sparse_initializer=[sparse])))
    with pytest.raises(FormatError, match="lacks values or indices"):
        index_of(with_graph(GraphProto(sparse_initializer=[onnx.SparseTensorProto(dims=[1])])))


def test_what_begins_alike_is_no_model() -> None:
    for data in (b"\x08\x01\x12\x03abc", TensorProto(dims=[3], data_type=1, name="w").SerializeToString(), b"\x08"):
        with pytest.raises(UnknownFormatError):
            index_of(data)


def test_a_model_is_cut_off_anywhere() -> None:
    data = with_graph(nested(2), producer_name="someone")
    for size in range(2, len(data)):
        with pytest.raises(StatedictError, match=r"^net\.pt: "):
            index_of(data[:size])


def test_weights_are_not_read() -> None:
    big = [numpy_helper.from_array(np.zeros(1 << 18, np.float32), f"w{number}") for number in range(8)]
    source = CountingSource(with_initializers(*big))
    assert len(index_of(source).tensors) == 8
    assert source.read_bytes < 400_000 < source.size


# Real models


def tensors_of(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor of a graph and those within it, in the order of the reader: as the reference library has them."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):
                yield from tensors_of(attribute.g)


@pytest.mark.parametrize("model", models("onnx"))
def test_real_models_have_the_tensors_and_values_of_the_reference(model: RealModel) -> None:
    path = model.fetch()
    reference = onnx.load(path)
    opened = sd.open(path)
    parameters = dict(opened.named_parameters())
    assert len(parameters) == model.tensors == len(reference.graph.initializer)
    for proto in reference.graph.initializer:
        values = numpy_helper.to_array(proto)
        assert parameters[proto.name].numpy().tobytes() == values.tobytes()
        assert parameters[proto.name].shape == values.shape
    ours = sorted(tensor.numpy().tobytes() for tensor in opened.state_dict().values())
    assert ours == sorted(numpy_helper.to_array(proto).tobytes() for proto in tensors_of(reference.graph))
