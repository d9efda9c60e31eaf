"""`strip_prefixes`: a tree without the modules that DDP, FSDP, `torch.compile` and checkpointing put between."""
# pyright: reportPrivateUsage=false

from typing import Any, NamedTuple

from statedict.errors import StatedictError
from statedict.narrow import is_dict
from statedict.tree.module import Module
from statedict.tree.walking import require_tree

_ALWAYS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_ALONE = "module"
_TABLES = ("_parameters", "_buffers", "_modules")


class _Place(NamedTuple):
    """A module, and its full name."""

    module: Module
    name: str

    def of(self, local: str) -> str:
        return f"{self.name}.{local}" if self.name else local


def strip_prefixes(model: Module) -> Module:
    """A tree without the names `_orig_mod`, `_fsdp_wrapped_module`, `_checkpoint_wrapped_module` and `module`.

    What `torch.compile`, FSDP, activation checkpointing and DDP have wrapped takes the place of its wrapper:
    `module.layers.0._orig_mod.weight` becomes `layers.0.weight`. `module` goes only where it is all its parent holds.
    Tensors are shared with `model`, which is not changed. What a wrapper holds itself stays.

    Raises StatedictError where two members of one module would have one name, naming both.
    """
    require_tree(model)
    return _Stripping().stripped(_Place(model, ""))


class _Stripping:
    """The modules made so far, by the `id` of those that they stand for; what was shared stays shared."""

    def __init__(self) -> None:
        self._made: dict[int, Module] = {}
        self._entered: set[int] = set()

    def stripped(self, place: _Place) -> Module:
        """The module that stands for the one at `place`."""
        module = place.module
        if (known := self._made.get(id(module))) is not None:
            return known
        inner = _wrapped(module)
        if inner is None:
            made = self._made[id(module)] = _emptied(module)
            self._fill(made, place, leave=None)
            return made
        if id(module) in self._entered:
            raise StatedictError(f"`{place.name}` wraps itself, so its prefixes have no end")
        self._entered.add(id(module))
        child = module._modules[inner]
        assert child is not None  # noqa: S101 - `_wrapped` says so
        made = self.stripped(_Place(child, place.of(inner)))
        if sum(len(getattr(module, table)) for table in _TABLES) > 1:
            whole, made = made, _emptied(made)
            for table in _TABLES:
                getattr(made, table).update(getattr(whole, table))
            self._fill(made, place, leave=inner)
        self._made[id(module)] = made
        return made

    def _fill(self, made: Module, place: _Place, leave: str | None) -> None:
        """Give `made` all that the module at `place` holds but the member `leave`."""
        for table in _TABLES:
            held: dict[str, Any] = getattr(place.module, table)
            for local, value in held.items():
                if table == "_modules" and local == leave:
                    continue
                if leave is not None and any(local in getattr(made, other) for other in _TABLES):
                    raise StatedictError(
                        f"`{place.of(local)}` and `{place.of(leave)}.{local}` would both be `{local}` "
                        "without their prefixes; rename one of them"
                    )
                kept = self.stripped(_Place(value, place.of(local))) if isinstance(value, Module) else value
                getattr(made, table)[local] = kept


def _wrapped(module: Module) -> str | None:
    """The name of the child that a wrapper wraps; None: it is no wrapper."""
    children = module._modules
    for local, child in children.items():
        if child is not None and local in _ALWAYS:
            return local
    alone = len(children) == 1 and not module._parameters and not module._buffers
    return _ALONE if alone and children.get(_ALONE) is not None else None


def _emptied(module: Module) -> Module:
    """Another module of the same class and attributes that holds nothing yet."""
    made = object.__new__(type(module))
    attributes = module.__dict__.get("_attributes", {})
    made.__dict__.update(module.__dict__)
    made.__dict__.update(
        _parameters={},
        _buffers={},
        _modules={},
        _non_persistent_buffers_set=set(module._non_persistent_buffers_set),
        _attributes=dict(attributes) if is_dict(attributes) else attributes,
    )
    return made
