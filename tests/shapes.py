"""Trees of tensors of which nothing is known but names, shapes and element types."""

from statedict.dtypes import dtype
from statedict.index import Index, TensorInfo
from statedict.source import BytesSource
from statedict.tree.build import build
from statedict.tree.module import Module

Shape = tuple[int, ...]


def model(tensors: dict[str, Shape], types: dict[str, str] | None = None) -> Module:
    """A tree of tensors of those shapes, and types where they are not float32, by nothing but their names."""
    infos = {
        name: TensorInfo(name, dtype((types or {}).get(name, "float32")), shape, None)
        for name, shape in tensors.items()
    }
    return build(Index("safetensors", BytesSource(b""), infos, ordered=False))


def kinds(tensors: dict[str, Shape]) -> dict[str, str | None]:
    return {name: module.kind for name, module in model(tensors).named_modules() if name}


def layer(name: str, weight: Shape, bias: Shape | None = None) -> dict[str, Shape]:
    return {f"{name}.weight": weight, **({} if bias is None else {f"{name}.bias": bias})}
