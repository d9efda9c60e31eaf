"""TensorFlow Lite: a file by hand, then files by the schema's own classes, and real ones."""

import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema

import statedict as sd
from statedict.errors import FormatError, LimitError
from statedict.formats import tflite
from statedict.limits import Limits
from statedict.opaque import Opaque
from statedict.tree.reading import read
from tests.formats.contract import FormatContract
from tests.formats.stored import CountingSource, elements, index_of
from tests.formats.tflite_models import TYPES, buffer, model, of_tensors, packed, tensor
from tests.real_models import RealModel, models

BY_HAND = (
    b"\x18\0\0\0TFL3"  # the model is at 24
    b"\x0e\0\x10\0\x04\0\0\0\x08\0\0\0\x0c\0\0\0"  # its vtable, of 14 bytes: fields 0, 2 and 4 are at 4, 8 and 12
    b"\x10\0\0\0\x03\0\0\0\x08\0\0\0\x58\0\0\0"  # 24: vtable 16 before, version 3, subgraphs 8 on, buffers 88 on
    b"\x01\0\0\0\x0c\0\0\0"  # 40: one subgraph, 12 on
    b"\x06\0\x08\0\x04\0\0\0"  # its vtable: field 0 is at 4
    b"\x08\0\0\0\x04\0\0\0"  # 56: vtable 8 before, tensors 4 on
    b"\x01\0\0\0\x10\0\0\0"  # 64: one tensor, 16 on
    b"\x0c\0\x14\0\x08\0\x04\0\x0c\0\x10\0"  # its vtable: fields 0 to 3 are at 8, 4, 12 and 16
    b"\x0c\0\0\0\x01\0\0\0\x0c\0\0\0\x01\0\0\0\x10\0\0\0"  # 84: float16, shape 12 on, buffer 1, name 16 on
    b"\x02\0\0\0\x02\0\0\0\x01\0\0\0"  # 104: the shape, [2, 1]
    b"\x03\0\0\0a.w\0"  # 116: the name
    b"\x02\0\0\0\x0c\0\0\0\x14\0\0\0"  # 124: two buffers, 12 and 20 on
    b"\x04\0\x04\0\x04\0\0\0"  # the empty one's vtable, and at 140 the empty one
    b"\x06\0\x08\0\x04\0\0\0\x08\0\0\0\x04\0\0\0"  # the other's vtable, and at 152 the other: data 4 on
    b"\x04\0\0\0\0\x3c\0\xc0"  # 160: four bytes, 1.0 and -2.0
)


class TestContract(FormatContract):
    format = "tflite"
    padding = 4
    """A FlatBuffer's size is a multiple of its strictest alignment."""

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        return of_tensors(tensors)


def test_a_file_by_hand() -> None:
    index = index_of(BY_HAND)
    (info,) = index.tensors.values()
    assert index.format == "tflite"
    assert (info.name, str(info.dtype), info.shape) == ("a.w", "float16", (2, 1))
    assert info.extent is not None
    assert (info.extent.offset, info.extent.size) == (164, 4)
    assert read(info).tolist() == [[1.0], [-2.0]]
    assert index.modules["a"].parameters == ("w",)
    assert index.modules[""].attributes == {"version": 3}
    theirs: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(BY_HAND, 0))
    (found,) = theirs.subgraphs[0].tensors
    assert (found.name, found.shape.tolist(), found.type) == (b"a.w", [2, 1], 1)
    assert theirs.buffers[found.buffer].data.tobytes() == BY_HAND[164:]


@pytest.mark.parametrize("name", TYPES)
def test_every_type(name: str) -> None:
    values = np.array([0, 1, 2]).astype(name if hasattr(np, name) else getattr(ml_dtypes, name))
    data = packed(model([tensor("w", (3,), TYPES[name], 1)], [buffer(values.tobytes())]))
    (info,) = index_of(data).tensors.values()
    assert str(info.dtype) == name
    assert read(info).tolist() == values.tolist()


def test_types_are_numbered_as_in_the_schema() -> None:
    numbers = {name: number for name, number in vars(schema.TensorType).items() if not name.startswith("_")}
    ours = {number: name.removesuffix("_packed").upper() for number, name in tflite.TYPES.items()}
    assert ours == {number: name for name, number in numbers.items() if number in tflite.TYPES}


def test_four_bits_are_packed_two_to_a_byte() -> None:
    data = packed(model([tensor("w", (3,), schema.TensorType.INT4, 1)], [buffer(b"\x21\x0f")]))
    (info,) = index_of(data).tensors.values()
    assert str(info.dtype) == "int4_packed"
    assert read(info).tolist() == [1, 2, -1]


def test_what_flows_between_operators_is_no_weight() -> None:
    rows = [
        tensor("input", (1, 8), 0, 0),
        tensor("weight", (2, 8), 0, 1),
        tensor("hidden", (1, 2), 0, 2),
        tensor("state", (1, 2), 0, 0, isVariable=True),
    ]
    index = index_of(packed(model(rows, [buffer(bytes(64)), buffer()])))
    assert list(index.tensors) == ["weight"]


def test_tensors_of_one_buffer_are_tied() -> None:
    scaled: Any = schema.QuantizationParametersT()
    scaled.scale, scaled.zeroPoint = [0.5], [0]
    rows = [tensor("a", (2,), 0, 1), tensor("b", (2,), 0, 1), tensor("c", (1, 2), 0, 1), tensor("d", (2,), 0, 2)]
    rows.append(tensor("e", (2,), 0, 1, quantization=scaled))
    index = index_of(packed(model(rows, [buffer(bytes(8)), buffer(bytes(8))])))
    infos = list(index.tensors.values())
    assert index.aliases() == {"b": "a"}
    assert [info.name for info in infos] == ["a", "a", "c", "d", "e"], "of other shape, bytes or scale it is another"
    assert infos[2].extent is not None
    assert infos[2].extent == infos[0].extent


def test_what_quantised_numbers_stand_for_is_told() -> None:
    def scaled(scale: list[float], zero_point: list[int], along: int = 0) -> Any:
        made: Any = schema.QuantizationParametersT()
        made.scale, made.zeroPoint, made.quantizedDimension = scale, zero_point, along
        return made

    rows = [
        tensor("one", (2,), 9, 1, quantization=scaled([0.5], [3])),
        tensor("each", (1, 2), 9, 2, quantization=scaled([0.5, 0.25], [0, -1], 1)),
        tensor("none", (2,), 9, 3, quantization=scaled([], [])),
    ]
    index = index_of(packed(model(rows, [buffer(b"ab"), buffer(b"cd"), buffer(b"ef")])))
    assert [dict(info.encoding.attributes) for info in index.tensors.values()] == [
        {"scale": 0.5, "zero_point": 3},
        {"scale": (0.5, 0.25), "zero_point": (0, -1), "quantized_dimension": 1},
        {},
    ]


def test_a_model_says_what_else_it_carries() -> None:
    metadata: Any = schema.MetadataT()
    signature: Any = schema.SignatureDefT()
    metadata.name, metadata.buffer, signature.signatureKey = b"min_runtime_version", 1, b"serving_default"
    made = model([], [buffer(b"1.5.0")], metadata=[metadata], signatureDefs=[signature])
    assert index_of(packed(made)).modules[""].attributes == {
        "version": 3,
        "description": "made by hand",
        "metadata": ["min_runtime_version"],
        "signatures": ["serving_default"],
    }


def test_the_weights_of_other_subgraphs_are_under_their_names() -> None:
    made = model([tensor("w", (1,), 3, 1)], [buffer(b"a"), buffer(b"b"), buffer(b"c")])
    for number, name in ((2, b"while_body"), (3, None)):
        graph: Any = schema.SubGraphT()
        graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor("w", (1,), 3, number)], [], [], []
        graph.name = name
        made.subgraphs.append(graph)
    assert list(index_of(packed(made)).tensors) == ["w", "while_body.w", "subgraph_2.w"]


def test_names_that_are_there_twice_are_told_apart() -> None:
    rows = [tensor(name, (1,), 3, number) for number, name in enumerate(("w", "w:2", "w", "w"), 1)]
    index = index_of(packed(model(rows, [buffer(bytes([number])) for number in range(4)])))
    assert {name: read(info).tolist() for name, info in index.tensors.items()} == {
        "w": [0], "w:2": [1], "w:3": [2], "w:4": [3],
    }  # fmt: skip


def test_elements_behind_the_flatbuffer() -> None:
    """As LiteRT writes models of more than the 2 GiB that a FlatBuffer can have."""
    behind: Any = schema.BufferT()
    behind.offset, behind.size = 4096, 8
    data = packed(model([tensor("w", (2,), 0, 1)], [behind])).ljust(4096, b"\0") + struct.pack("<2f", 1.5, -2)
    (info,) = index_of(data).tensors.values()
    assert read(info).tolist() == [1.5, -2]
    with pytest.raises(FormatError, match=r"tensor `w` ends at byte 4,104, but net\.pt has 4,103"):
        index_of(data[:-1])


def test_text_and_sparse_tensors_are_described() -> None:
    sparsity: Any = schema.SparsityParametersT()
    sparsity.traversalOrder = [0, 1]
    rows = [tensor("words", (2,), schema.TensorType.STRING, 1), tensor("w", (4, 4), 0, 2, sparsity=sparsity)]
    index = index_of(packed(model(rows, [buffer(b"abc"), buffer(bytes(8))])))
    assert not index.tensors
    attributes = index.modules[""].attributes
    assert isinstance(attributes["words"], Opaque)
    assert attributes["words"].kwargs == {"type": 5, "shape": (2,), "bytes": 3}
    assert attributes["w"].kwargs == {"type": 0, "shape": (4, 4), "bytes": 8, "sparse": True}


def test_a_tensor_that_does_not_fill_its_buffer_is_refused() -> None:
    data = packed(model([tensor("w", (3,), 0, 1)], [buffer(bytes(8))]))
    with pytest.raises(
        FormatError, match=r"^net\.pt: tensor `w` has 8 bytes, but \(3,\) of float32 needs 12; the file"
    ):
        index_of(data)


def test_an_impossible_shape_is_refused() -> None:
    with pytest.raises(FormatError, match=r"tensor `w` has the impossible shape \(-2, -1\)"):
        index_of(packed(model([tensor("w", (-2, -1), 0, 1)], [buffer(bytes(8))])))


def test_a_buffer_that_is_not_there_is_refused() -> None:
    with pytest.raises(FormatError, match="tensor `w` is in buffer 7 of 2; the file is damaged"):
        index_of(packed(model([tensor("w", (2,), 0, 7)], [buffer(bytes(8))])))


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (0, 1 << 31, "the offset at byte 0 leads to byte 2,147,483,648 of 168"),
        (0, 0, "the offset at byte 0 leads to byte 0 of 168"),
        (8, 3, "the table at byte 24 has an impossible list of its fields"),
        (24, 1 << 20, "bytes -1,048,552 to -1,048,550 are referred to, of 168"),
        (40, 1 << 30, "the list at byte 40 ends at byte 4,294,967,340 of 168"),
    ],
)
def test_what_leads_beyond_the_file_is_refused(at: int, value: int, said: str) -> None:
    data = bytearray(BY_HAND)
    data[at : at + 4] = value.to_bytes(4, "little")
    with pytest.raises(FormatError, match=said):
        index_of(bytes(data), "tflite")


def test_one_tensor_that_is_listed_again_and_again_is_no_way_to_keep_us_busy() -> None:
    many = 200_000
    tensor_at = len(BY_HAND) + 4 + 4 * many + 12  # behind the list, and its own vtable
    places = range(len(BY_HAND) + 4, len(BY_HAND) + 4 + 4 * many, 4)
    listed = struct.pack(f"<{many + 1}I", many, *(tensor_at - place for place in places))
    data = BY_HAND[:60] + struct.pack("<I", len(BY_HAND) - 60) + BY_HAND[64:] + listed + BY_HAND[72:124]
    said = r"its description takes more than the 1,048,576 bytes of `Limits\.header_bytes`"
    with pytest.raises(LimitError, match=said):
        index_of(data, "tflite", Limits(header_bytes=1 << 20))


def test_of_a_large_file_only_the_tables_are_read() -> None:
    source = CountingSource(of_tensors({f"w{number}": torch.zeros(100_000) for number in range(20)}))
    index_of(source)
    assert source.size > 8_000_000
    assert source.read_bytes < 200_000


def test_values_can_be_edited_and_saved(tmp_path: Any) -> None:
    (tmp_path / "net.tflite").write_bytes(of_tensors({"conv/w": torch.arange(6.0).reshape(2, 3)}))
    sd.save(sd.open(tmp_path / "net.tflite"), tmp_path / "net.safetensors")
    again = sd.open(tmp_path / "net.safetensors")
    assert again.get_parameter("conv/w").numpy().tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("model", models("tflite"))
def test_a_real_model_has_what_the_schemas_own_classes_read(model: RealModel) -> None:
    path = model.fetch()
    theirs: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    index = index_of(path.read_bytes())
    expected: list[bytes] = []
    for number, graph in enumerate(theirs.subgraphs):
        for found in graph.tensors:
            data = theirs.buffers[found.buffer].data
            if found.buffer and data is not None and len(data):
                expected.append(data.tobytes())
                assert number or found.name.decode() in index.tensors
    assert [elements(info) for info in index.tensors.values()] == expected
    assert len(index.tensors) == model.tensors
