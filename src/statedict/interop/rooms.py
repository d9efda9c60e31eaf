"""Memory for parameters of the meta device, which have none."""
# pyright: reportUnknownMemberType=false

import torch
from torch import nn

from statedict.index import PLAIN, contiguous
from statedict.interop.filling import Copy
from statedict.interop.lazy import Lazy
from statedict.source import FileSource, Source


class Room:
    """Where new tensors get their memory: on a device, or, with `mmap`, in the files whose bytes are theirs."""

    def __init__(self, device: str | torch.device | None = None, *, mmap: bool = False) -> None:
        self.device = torch.device("cpu" if device is None else device)
        self._mmap = mmap and self.device.type == "cpu"
        self._maps: dict[int, tuple[Source, torch.Tensor]] = {}

    def like(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor like one of the meta device, with memory but no values yet."""
        made = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=self.device)
        return same_role(tensor, made)

    def mapped(self, copy: Copy) -> torch.Tensor | None:
        """A tensor for one of the meta device over the bytes of a file; None where that is not wanted or possible."""
        target, info = copy
        if not (self._mmap and target.is_meta and target.numel()) or info.extent is None or info.encoding is not PLAIN:
            return None
        source, offset = info.extent.source.located(info.extent.offset)
        last, end = info.extent.source.located(info.extent.offset + info.extent.size - 1)
        in_one_piece = last is source and end - offset == info.extent.size - 1
        same = str(target.dtype) == f"torch.{info.dtype.name}" and offset % info.dtype.itemsize == 0
        if not (isinstance(source, FileSource) and in_one_piece and same):
            return None
        shape = info.shape or ()
        room = self._map(source)[offset : offset + info.extent.size].view(target.dtype)
        made = same_role(target, room.as_strided(shape, info.stride or contiguous(shape), room.storage_offset()))
        torch.autograd.graph.increment_version(made)  # it has got its values
        return made

    def _map(self, source: FileSource) -> torch.Tensor:
        if id(source) not in self._maps:
            self._maps[id(source)] = source, torch.frombuffer(source.mapped(), dtype=torch.uint8)
        return self._maps[id(source)][1]


def same_role(like: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """`made` as a parameter or buffer, where `like` is one, with what its author has said of it."""
    if isinstance(like, nn.Parameter):
        made = nn.Parameter(made, requires_grad=like.requires_grad)
    elif type(like) is nn.Buffer:
        made = nn.Buffer(made)
    if type(like) is not Lazy:
        vars(made).update(vars(like))
    return made
