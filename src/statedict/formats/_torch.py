"""What PyTorch's pickles call to rebuild a tensor, as functions that describe the tensor instead.

The names and arguments are those of `torch._utils`, `torch._tensor`, `torch.nn.parameter` and `torch.nested` from
PyTorch 0.1 to 2.13.
"""

from collections.abc import Callable, Mapping
from typing import Any

from statedict.dtypes import DTYPES, DType
from statedict.formats._numpy import KNOWN as NUMPY_KNOWN
from statedict.formats._stored import STORAGES, StoredTensor, dtype_of, integers, name_of, tensor
from statedict.narrow import is_dict
from statedict.opaque import Opaque


def _tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, _hooks: Any, dtype: Any, bits: Any = None
) -> StoredTensor:
    made = tensor(storage, offset, size, stride, requires_grad, None, bits)
    made.dtype = dtype_of(dtype)
    return made


def _parameter(data: Any = None, requires_grad: Any = True, _hooks: Any = None, state: Any = None) -> Any:
    if not isinstance(data, StoredTensor):
        raise TypeError("not a tensor")
    made = _copy(data)
    made.requires_grad = bool(requires_grad)
    made.parameter = True
    made.add_state(state)
    return made


def _copy(tensor: StoredTensor) -> StoredTensor:
    made = StoredTensor(
        tensor.storage,
        tensor.offset,
        tensor.shape,
        tensor.stride,
        tensor.dtype,
        tensor.requires_grad,
        tensor.special,
        tensor.device,
    )
    made.parameter = tensor.parameter
    made.states = tensor.states
    return made


def _buffer(data: Any, *_persistent: Any) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise TypeError("not a tensor")
    return data


def _uninitialized_parameter(requires_grad: Any = True, *_rest: Any) -> StoredTensor:
    made = StoredTensor(None, 0, None, None, DTYPES["float32"], bool(requires_grad))
    made.parameter = True
    return made


def _uninitialized_buffer(*_arguments: Any) -> StoredTensor:
    return StoredTensor(None, 0, None, None, DTYPES["float32"])


def _from_type(function: Any, kind: Any, arguments: Any, state: Any) -> StoredTensor:
    made = function(*arguments)
    if not isinstance(made, StoredTensor):
        raise TypeError("not a tensor")
    name = name_of(kind)
    if name in {"torch.nn.parameter.Parameter", "torch.nn.Parameter"}:
        made.parameter = True
    elif name != "torch.Tensor":
        made.special = {**(made.special or {}), "kind": name}
    made.add_state(state)
    return made


def _sparse(layout: Any, data: Any) -> StoredTensor:
    name = name_of(layout).removeprefix("torch.")
    if name == "sparse_coo":
        indices, values, size, *coalesced = data
        parts = {"indices": indices, "values": values}
        attributes = {"is_coalesced": coalesced[0] if coalesced else None}
    elif name in {"sparse_csr", "sparse_bsr", "sparse_csc", "sparse_bsc"}:
        compressed, plain, values, size = data
        names = (
            ("crow_indices", "col_indices") if name in {"sparse_csr", "sparse_bsr"} else ("ccol_indices", "row_indices")
        )
        parts = {names[0]: compressed, names[1]: plain, "values": values}
        attributes = {}
    else:
        raise ValueError("no sparse layout")
    return _composed(name, parts, integers(size), parts["values"].dtype, attributes)


def _composed(
    layout: str, parts: dict[str, Any], shape: tuple[int, ...], dtype: DType, attributes: Any
) -> StoredTensor:
    if not all(isinstance(part, StoredTensor) for part in parts.values()):
        raise TypeError("not tensors")
    grad = parts.get("values", parts.get("buffer"))
    made = StoredTensor(None, 0, shape, None, dtype, grad.requires_grad if grad else False)
    made.special = {"layout": layout, "parts": parts, "attributes": attributes}
    made.device = next(iter(parts.values())).device
    return made


def _sparse_csr(crow: Any, col: Any, values: Any, size: Any) -> StoredTensor:
    return _composed(
        "sparse_csr", {"crow_indices": crow, "col_indices": col, "values": values}, integers(size), values.dtype, {}
    )


def _nested(buffer: Any, sizes: Any, strides: Any, offsets: Any) -> StoredTensor:
    # The outer sizes of a nested tensor are data: only how many tensors it holds is known from its description.
    parts = {"buffer": buffer, "nested_size": sizes, "nested_strides": strides, "storage_offsets": offsets}
    return _composed("nested", parts, (), buffer.dtype, {"nested_shape": sizes.shape})


def _jagged(arguments: Any) -> StoredTensor:
    parts = {name: arguments[name] for name in ("values", "offsets", "lengths") if arguments.get(name) is not None}
    made = _composed("jagged", parts, (), parts["values"].dtype, {"ragged_idx": arguments.get("_ragged_idx", 1)})
    made.requires_grad = bool(arguments.get("requires_grad"))
    return made


def _quantized(
    storage: Any, offset: int, size: Any, stride: Any, quantizer: Any, requires_grad: Any = False, *_hooks: Any
) -> StoredTensor:
    made = tensor(storage, offset, size, stride, requires_grad)
    scheme = name_of(quantizer[0]).removeprefix("torch.")
    if scheme.startswith("per_tensor"):
        attributes = {"qscheme": scheme, "scale": float(quantizer[1]), "zero_point": int(quantizer[2])}
        made.special = {"attributes": attributes}
    else:
        parts = {"scales": quantizer[1], "zero_points": quantizer[2]}
        if not all(isinstance(part, StoredTensor) for part in parts.values()):
            parts, extra = {}, {"scales": quantizer[1], "zero_points": quantizer[2]}
        else:
            extra = {}
        made.special = {"parts": parts, "attributes": {"qscheme": scheme, "axis": int(quantizer[3]), **extra}}
    return made


def _meta(dtype: Any, size: Any, stride: Any, requires_grad: Any) -> StoredTensor:
    return StoredTensor(None, 0, integers(size), integers(stride), dtype_of(dtype), bool(requires_grad), None, "meta")


def _wrapper(
    kind: Any, dtype: Any, size: Any, stride: Any, _offset: Any, layout: Any, device: Any, requires_grad: Any
) -> StoredTensor:
    special = {"kind": name_of(kind), "layout": name_of(layout).removeprefix("torch.")}
    made = StoredTensor(None, 0, integers(size), integers(stride), dtype_of(dtype), bool(requires_grad), special)
    made.device = name_of(device)
    return made


def _moved(data: Any, dtype: Any, device: Any, requires_grad: Any) -> StoredTensor:
    """A tensor that lived on a device without storages, saved as numpy's or the CPU's of maybe another type."""
    if not isinstance(data, StoredTensor):
        raise TypeError("not a tensor")
    made = _copy(data)
    made.device = name_of(device)
    made.requires_grad = bool(requires_grad)
    if (wanted := dtype_of(dtype)) != data.dtype:
        made.special = {**(data.special or {}), "attributes": {"dtype": wanted}}
    return made


def _old_tensor(*arguments: Any) -> StoredTensor:
    """`torch.FloatTensor()`, to be filled by `__setstate__`, or a class called with a tensor."""
    if arguments and isinstance(arguments[0], StoredTensor):
        return _copy(arguments[0])
    if arguments:
        raise TypeError("not a tensor")
    return StoredTensor(None, 0, (0,), (1,), DTYPES["float32"])


def _device(kind: str, index: int | None = None) -> str:
    return kind if index is None else f"{kind}:{int(index)}"


def _size(values: Any = ()) -> tuple[int, ...]:
    return integers(tuple(values))


def _layout(name: str) -> str:
    return str(name)


def _as_list(data: Any, *_rest: Any) -> Any:
    return data


def _graph_module(body: Any, *_imports: Any) -> Opaque:
    """A module that `torch.fx` traced: pickled as its attributes and the source of its `forward`."""
    if not is_dict(body):
        raise TypeError("no attributes")
    name = body.get("_graphmodule_cls_name", "GraphModule")
    return Opaque(f"torch.fx.graph_module.{name if isinstance(name, str) else 'GraphModule'}", (), state=body)


def _compiled(module: Any, *_context: Any) -> Opaque:
    """A module that `torch.compile` wrapped: pickled as that module, and how it was to be compiled."""
    if not isinstance(module, Opaque):
        raise TypeError("no module")
    state = {"_parameters": {}, "_buffers": {}, "_modules": {"_orig_mod": module}}
    return Opaque("torch._dynamo.eval_frame.OptimizedModule", (), state=state)


REBUILT = (tensor, _tensor_v3)
"""What makes nearly all tensors."""
_TENSOR_CLASSES = [f"{name}Tensor" for name in ("", *STORAGES)]
KNOWN: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": tensor,
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_sparse_csr_tensor": _sparse_csr,
    "torch._utils._rebuild_nested_tensor": _nested,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_wrapper_subclass": _wrapper,
    "torch._utils._rebuild_device_tensor_from_numpy": _moved,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _moved,
    "torch._utils._rebuild_xla_tensor": _moved,
    "torch._tensor._rebuild_from_type": _from_type,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.tensor._rebuild_from_type": _from_type,
    "torch.tensor._rebuild_from_type_v2": _from_type,
    "torch.nested._internal.nested_tensor._rebuild_njt": _jagged,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.nn.parameter.Buffer": _buffer,
    "torch.nn.parameter.UninitializedParameter": _uninitialized_parameter,
    "torch.nn.parameter.UninitializedBuffer": _uninitialized_buffer,
    "torch.autograd.variable.Variable": _old_tensor,
    "torch.Size": _size,
    "torch.device": _device,
    "torch.serialization._get_layout": _layout,
    **{f"torch.{cuda}{name}": _old_tensor for cuda in ("", "cuda.") for name in _TENSOR_CLASSES},
    **{f"torch.jit._pickle.build_{kind}list": _as_list for kind in ("int", "tensor", "double", "bool")},
    "torch.jit._pickle.restore_type_tag": _as_list,
    "torch._dynamo.eval_frame.OptimizedModule": _compiled,
    "torch.fx.graph_module.reduce_graph_module": _graph_module,
    **NUMPY_KNOWN,
}
