"""What ONNX says of a model beside its initializers: names, nodes, sub-graphs, functions."""

import numpy as np
import onnx
import pytest
from onnx import GraphProto, TensorProto, helper, numpy_helper

import statedict as sd
from statedict.errors import LimitError
from statedict.tree.layouts import dense
from tests.formats.onnx_models import constant, nested, roles, values_of, with_graph, with_initializers
from tests.formats.stored import index_of


def test_names_are_the_hierarchy() -> None:
    one = numpy_helper.from_array(np.ones(1, np.float32))
    protos = [
        TensorProto(name=name, data_type=1, dims=[1], raw_data=one.raw_data)
        for name in ("encoder.0.weight", "encoder.0.bias", "/encoder/MatMul:0", "onnx::MatMul_3")
    ]
    model = sd.open(with_initializers(*protos))
    assert [name for name, _ in model.named_parameters()] == [
        "/encoder/MatMul:0", "onnx::MatMul_3", "encoder.0.weight", "encoder.0.bias",
    ]  # fmt: skip
    assert [name for name, _ in model.named_modules()] == ["", "encoder", "encoder.0"]


def test_what_the_model_says_of_itself() -> None:
    typed = helper.make_tensor_value_info
    inputs = [
        typed("x", TensorProto.FLOAT, ["batch", 3, None]),
        typed("w", TensorProto.FLOAT, [1]),
        typed("any", TensorProto.STRING, None),
        helper.make_tensor_sequence_value_info("list", TensorProto.INT64, [2]),
        helper.make_value_info("maybe", helper.make_optional_type_proto(helper.make_tensor_type_proto(10, [1]))),
        helper.make_value_info("map", helper.make_map_type_proto(8, helper.make_tensor_type_proto(1, []))),
        helper.make_value_info("sparse", helper.make_sparse_tensor_type_proto(1, [4])),
    ]
    graph = GraphProto(name="main", input=inputs, output=[typed("y", TensorProto.BOOL, [])])
    graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "w"))
    model = helper.make_model(
        graph, producer_name="we", producer_version="1.0", domain="org.we", model_version=7, doc_string="said",
        ir_version=9, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
    )  # fmt: skip
    helper.set_model_props(model, {"licence": "MIT"})
    attributes = index_of(model.SerializeToString()).modules[""].attributes
    assert attributes == {
        "ir_version": 9, "producer_name": "we", "producer_version": "1.0", "domain": "org.we", "model_version": 7,
        "doc_string": "said", "graph": "main", "opset_import": {"ai.onnx": 17, "ai.onnx.ml": 3},
        "metadata_props": {"licence": "MIT"},
        "inputs": {
            "x": {"dtype": "float32", "shape": ("batch", 3, None)},
            "any": {"dtype": "string", "shape": None},
            "list": {"sequence": {"dtype": "int64", "shape": (2,)}},
            "maybe": {"optional": {"dtype": "float16", "shape": (1,)}},
            "map": {"map": {"key": "string", "dtype": "float32", "shape": ()}},
            "sparse": {"sparse_tensor": {"dtype": "float32", "shape": (4,)}},
        },
        "outputs": {"y": {"dtype": "bool", "shape": ()}},
    }  # fmt: skip


def test_constants_are_buffers_and_sub_graphs_modules() -> None:
    then = GraphProto(name="then", node=[constant("c", 1), constant("enc.w", 2)])
    other = GraphProto(name="other", node=[constant("c", 3)])
    other.initializer.append(numpy_helper.from_array(np.array([4], np.float32), "init"))
    loop = GraphProto(name="loop", node=[helper.make_node("If", ["x"], ["z"], then_branch=then, else_branch=other)])
    graph = GraphProto(
        node=[
            constant("/c", 0, name="Constant_0"),
            helper.make_node("If", ["x"], ["y"], name="If_0", then_branch=then, else_branch=other),
            helper.make_node("Loop", ["m", "x"], ["l"], body=loop),
            helper.make_node("Scan", ["x"], ["s"], name="quiet", body=GraphProto(name="nothing in it")),
        ]
    )
    index = index_of(with_graph(graph))
    assert values_of(index) == {
        "If_0.else_branch.init": 4, "l.body.z.else_branch.init": 4, "/c": 0,
        "If_0.then_branch.c": 1, "If_0.then_branch.enc.w": 2, "If_0.else_branch.c": 3,
        "l.body.z.then_branch.c": 1, "l.body.z.then_branch.enc.w": 2, "l.body.z.else_branch.c": 3,
    }  # fmt: skip
    assert {name: info.kind for name, info in index.modules.items() if info.kind} == {
        "If_0": "If", "l": "Loop", "l.body.z": "If",
    }  # fmt: skip
    assert roles(index)["If_0.else_branch"] == (("init",), ("c",))
    assert index.modules["If_0.then_branch"].attributes == {"graph": "then", "inputs": {}, "outputs": {}}
    model = sd.open(with_graph(graph))
    assert model.get_submodule("l.body.z").kind == "If"
    assert [name for name, _ in model.named_parameters()] == ["If_0.else_branch.init", "l.body.z.else_branch.init"]


def test_other_tensors_of_nodes() -> None:
    one, two = (numpy_helper.from_array(np.array([value], np.float32)) for value in (1, 2))
    sparse = helper.make_sparse_tensor(two, numpy_helper.from_array(np.array([0])), [1])
    graph = GraphProto(
        node=[
            helper.make_node("ConstantOfShape", ["s"], ["fill"], value=one),
            helper.make_node("Trees", ["x"], ["y"], name="trees", domain="ai.onnx.ml", splits=one, many=[one, two]),
            helper.make_node("Constant", [], ["sparse"], sparse_value=sparse),
            helper.make_node("Constant", [], ["plain"], value_float=1.0),
        ]
    )
    index = index_of(with_graph(graph))
    assert list(index.tensors) == ["fill.value", "trees.many.0", "trees.many.1", "trees.splits", "sparse"]
    assert {name: info.kind for name, info in index.modules.items() if info.kind} == {
        "fill": "ConstantOfShape",
        "trees": "Trees",
    }
    np.testing.assert_array_equal(dense(index.tensors["sparse"]), [2])


def test_nodes_of_one_name_are_told_apart_by_their_outputs() -> None:
    body = GraphProto(node=[constant("c", 1)])
    nodes = [helper.make_node("Loop", [], [f"out{number}"], name="same", body=body) for number in range(3)]
    assert list(index_of(with_graph(GraphProto(node=nodes))).tensors) == ["same.body.c", "out1.body.c", "out2.body.c"]


def test_constants_of_one_name_are_all_shown() -> None:
    nodes = [constant("c", number) for number in range(3)]
    assert values_of(index_of(with_graph(GraphProto(node=nodes)))) == {"c": 0, "c:2": 1, "c:3": 2}


def test_functions() -> None:
    function = helper.make_function(
        "pkg.custom", "Norm", ["x"], ["y"], [constant("eps", 5)], [helper.make_opsetid("", 21)], overload="f32"
    )
    index = index_of(with_graph(GraphProto(name="g"), functions=[function]))
    assert values_of(index) == {"pkg.custom.Norm.f32.eps": 5}
    module = index.modules["pkg.custom.Norm.f32"]
    assert (module.kind, module.attributes) == ("Norm", {"inputs": ["x"], "outputs": ["y"]})
    assert index.modules[""].attributes["functions"] == ["pkg.custom.Norm.f32"]


def test_training_graphs() -> None:
    training = onnx.TrainingInfoProto(algorithm=GraphProto(node=[constant("rate", 0.5)]))
    index = index_of(with_graph(GraphProto(name="g"), training_info=[training]))
    assert values_of(index) == {"training_info.0.algorithm.rate": 0.5}


def test_graphs_in_graphs_meet_the_limit_of_the_reference() -> None:
    (name,) = index_of(with_graph(nested(30))).tensors
    assert name == "y.then_branch." * 30 + "deepest"

    def field(number: int, data: bytes) -> bytes:
        size = len(data)
        return bytes([number << 3 | 2, size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]) + data

    graph = nested(0).SerializeToString()
    for _ in range(1000):
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(LimitError, match="messages in messages"):
        index_of(b"\x08\x0a" + field(7, graph))
