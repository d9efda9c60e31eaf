"""A checkpoint's tensor as PyTorch's own loading code may pass it about: nothing of it is read before it is used."""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownParameterType=false

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch.utils._pytree import tree_map

from statedict.index import TensorInfo, contiguous
from statedict.interop.torch import to_torch
from statedict.tree.dequantize import dequantized
from statedict.tree.indexing import view

Put = Callable[[torch.Tensor, "Lazy"], None]
"""Puts the elements of the second into the memory of the first, of the same shape, now or later."""

_PROPERTIES = "shape dtype device layout ndim is_meta is_sparse is_quantized requires_grad is_leaf grad grad_fn"
_METHODS = """
    size dim ndimension numel nelement stride storage_offset element_size is_floating_point is_complex is_contiguous
    get_device requires_grad_ __len__ __hash__
"""
_TOLD = frozenset(
    {getattr(torch.Tensor, name).__get__ for name in _PROPERTIES.split()}
    | {getattr(torch.Tensor, name) for name in _METHODS.split()}
)
"""What is answered without a single element."""


class Lazy(torch.Tensor):
    """A tensor that has the shape and element type of one of a checkpoint.

    `copy_` from it hands both tensors to `copied`. Whatever else is done with it is done with its elements, read anew.
    """

    info: TensorInfo
    copied: Put

    @staticmethod
    def __new__(cls: "type[Lazy]", info: TensorInfo, put: Put) -> "Lazy":
        shape = info.shape or ()
        made: Lazy = cast("Any", torch.Tensor)._make_wrapper_subclass(
            cls,
            shape,
            strides=info.stride or contiguous(shape),
            dtype=getattr(torch, info.dtype.name),
            device="cpu",
        )
        made.info = info
        made.copied = put
        return made

    def read(self) -> torch.Tensor:
        """Its elements, in a new tensor."""
        return to_torch(self.info)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _TOLD:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if func is torch.Tensor.copy_ and len(args) == 2 and isinstance(args[1], cls):
            return _copied(args[0], args[1])
        if func is torch.Tensor.detach:
            return Lazy(args[0].info, args[0].copied)
        if func is torch.Tensor.__getitem__ and isinstance(args[0], cls) and args[1] == 0 and args[0].ndim == 1:
            return Lazy(view(args[0].info, 0), args[0].copied)  # a scalar, as PyTorch 0.3 had them
        return func(*tree_map(_read, args), **tree_map(_read, dict(kwargs)))

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return func(*tree_map(_read, args), **tree_map(_read, dict(kwargs or {})))


def lazy(info: TensorInfo, put: Put) -> torch.Tensor:
    """The tensor that a description stands for: a `Lazy` where its elements can be read in blocks, else a real one.

    Raises TypeError for element types that PyTorch has not, MissingExtraError where a library must decode it.
    """
    if info.dtype.block_bytes:
        info = dequantized(info)
    strided = info.shape is not None and info.extent is not None and info.encoding.layout == "strided"
    plain = not (info.dtype.quantized or info.encoding.conj or info.encoding.neg or info.encoding.parts)
    if strided and plain and info.dtype.bits >= 8 and hasattr(torch, info.dtype.name):
        return Lazy(info, put)
    return to_torch(info)


def _copied(target: torch.Tensor, source: Lazy) -> torch.Tensor:
    if isinstance(target, Lazy) or target.shape != source.shape:
        return target.copy_(source.read())
    source.copied(target, source)
    return target


def _read(value: Any) -> Any:
    return value.read() if isinstance(value, Lazy) else value
