"""What is said of modules and of the whole, and is otherwise: kinds, attributes, configuration, metadata."""

from collections.abc import Iterator, Mapping
from typing import Any

from statedict.index import Index, ModuleInfo, TensorInfo
from statedict.narrow import is_dict, is_list, is_set, is_tuple
from statedict.opaque import Opaque
from statedict.ops.diff.result import Described

_DEEPEST = 50
_OF_FOLDERS = ("config", "peft_config")
"""What a folder tells of its model, and a single file cannot."""
_FRAMEWORKS = ("pt", "tf", "flax", "np", "mlx")
"""What safetensors files hold under `format`: who wrote them, and nothing of what they hold."""


def described(old: Index, new: Index, moved: Mapping[str, str]) -> list[Described]:
    """What either side says otherwise of a module that both have, and of itself as a whole.

    `moved` holds the modules of another name there. What one side cannot tell is no difference: classes of modules,
    where it is a state dict.
    """
    found = list(_metadata(old.metadata, new.metadata))
    for name, info in old.modules.items():
        other = new.modules.get(moved.get(name, name))
        if other is not None:
            found += _module(name, info, other)
    return found + list(_only_one_has(old, new, moved))


def _metadata(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Described]:
    for key in dict.fromkeys([*old, *new]):
        if key == "format" and {old.get(key), new.get(key)} <= {*_FRAMEWORKS, None}:
            continue
        yield from _values(f"metadata.{key}", old.get(key), new.get(key), 0)


def _module(name: str, old: ModuleInfo, new: ModuleInfo) -> Iterator[Described]:
    if bool(old.kind) != bool(new.kind):
        return
    if old.kind and new.kind:
        if (old.class_name or old.kind) != (new.class_name or new.kind):
            yield Described(f"{name}.kind" if name else "kind", old.class_name or old.kind, new.class_name or new.kind)
        if old.training != new.training:
            yield Described(f"{name}.training" if name else "training", old.training, new.training)
    for key in dict.fromkeys([*old.attributes, *new.attributes]):
        if key in _OF_FOLDERS and not (key in old.attributes and key in new.attributes):
            continue
        yield from _values(f"{name}.{key}" if name else key, old.attributes.get(key), new.attributes.get(key), 0)


def _only_one_has(old: Index, new: Index, moved: Mapping[str, str]) -> Iterator[Described]:
    """Modules without tensors, which nothing else tells of, where both sides tell what modules are."""
    sides = [{name: info.kind for name, info in side.modules.items() if info.kind} for side in (old, new)]
    if not all(sides):
        return
    known = set(moved.values())
    holding = {name for side in (old, new) for tensor in side.tensors for name in _above(tensor)}
    for name, kind in sides[0].items():
        if name not in new.modules and name not in moved and name not in holding:
            yield Described(name, kind, None)
    for name, kind in sides[1].items():
        if name not in old.modules and name not in known and name not in holding:
            yield Described(name, None, kind)


def _above(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _values(name: str, old: Any, new: Any, depth: int) -> Iterator[Described]:
    """What is otherwise in two values: of two dicts, each entry."""
    if is_dict(old) and is_dict(new) and depth < _DEEPEST:
        for key in dict.fromkeys([*old, *new]):
            yield from _values(f"{name}.{key}", old.get(key), new.get(key), depth + 1)
    elif not alike(old, new):
        yield Described(name, old, new)


def _told(value: Opaque) -> tuple[Any, ...]:
    return value.name, value.args, dict(value.kwargs), value.state, value.items


def alike(old: Any, new: Any, depth: int = 0) -> bool:
    """Whether two attributes say the same. Of tensors in them, type and shape count."""
    if old is new or depth > _DEEPEST:
        return True
    if isinstance(old, TensorInfo) and isinstance(new, TensorInfo):
        return (old.dtype, old.shape) == (new.dtype, new.shape)
    if isinstance(old, Opaque) and isinstance(new, Opaque):
        return alike(_told(old), _told(new), depth + 1)
    if is_dict(old) and is_dict(new):
        return old.keys() == new.keys() and all(alike(value, new[key], depth + 1) for key, value in old.items())
    if (is_list(old) and is_list(new)) or (is_tuple(old) and is_tuple(new)):
        return len(old) == len(new) and all(alike(*both, depth + 1) for both in zip(old, new, strict=True))
    if is_set(old) and is_set(new):
        return set(old) == set(new)
    return type(old) is type(new) and (old == new or (old != old and new != new))
