"""TensorFlow Lite models, written by the schema's own classes and FlatBuffers' own library."""

from typing import Any

import flatbuffers
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    "float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "complex64": 8, "int8": 9,
    "float64": 10, "complex128": 11, "uint64": 12, "uint32": 15, "uint16": 16, "bfloat16": 18,
    "float8_e4m3fn": 21, "float8_e5m2": 22,
}  # fmt: skip


def buffer(data: bytes | None = None) -> Any:
    made: Any = schema.BufferT()
    made.data = None if data is None else np.frombuffer(data, "u1")
    return made


def tensor(name: str, shape: Any, kind: int, number: int, **fields: Any) -> Any:
    """A tensor in buffer `number`; its other fields as the schema calls them."""
    made: Any = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name.encode("utf-8", "surrogatepass"), list(shape), kind, number
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def model(tensors: list[Any], buffers: list[Any], **fields: Any) -> Any:
    """A model of one subgraph; buffer 0 is the empty one that every model begins with."""
    graph: Any = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators, graph.name = tensors, [], [], [], b"main"
    made: Any = schema.ModelT()
    made.version, made.subgraphs, made.buffers = 3, [graph], [buffer(), *buffers]
    made.operatorCodes, made.description = [], b"made by hand"
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def packed(made: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def of_tensors(tensors: dict[str, torch.Tensor]) -> bytes:
    """A model with these weights."""
    rows: list[Any] = []
    buffers: list[Any] = []
    for name, value in tensors.items():
        buffers.append(buffer(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()))
        rows.append(tensor(name, value.shape, TYPES[str(value.dtype).removeprefix("torch.")], len(buffers)))
    return packed(model(rows, buffers))
