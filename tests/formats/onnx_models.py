"""ONNX models by the reference library, and what tests ask of their indices."""

from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from statedict.index import Index
from statedict.tree.reading import read


def with_graph(graph: GraphProto, **fields: Any) -> bytes:
    return ModelProto(ir_version=10, graph=graph, **fields).SerializeToString()


def with_initializers(*tensors: TensorProto) -> bytes:
    return with_graph(GraphProto(name="g", initializer=tensors), opset_import=[helper.make_opsetid("", 21)])


def constant(output: str, value: float, **attributes: Any) -> NodeProto:
    tensor = numpy_helper.from_array(np.array([value], np.float32))
    return helper.make_node("Constant", [], [output], value=tensor, **attributes)


def roles(index: Index) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {name: (info.parameters, info.buffers) for name, info in index.modules.items()}


def values_of(index: Index) -> dict[str, float]:
    return {name: read(info).item() for name, info in index.tensors.items()}


def nested(depth: int) -> GraphProto:
    graph = GraphProto(node=[constant("deepest", 1)])
    for _ in range(depth):
        graph = GraphProto(node=[helper.make_node("If", [], ["y"], then_branch=graph)])
    return graph
