"""Every module of hundreds of models of `transformers`, taken apart and printed: it inherits or says how it prints."""

import pytest
from torch import nn

from statedict.tree import layers
from tests.architectures import make, names
from tests.taken_apart import taken_apart

pytestmark = pytest.mark.slow

OTHERWISE = {
    "xLSTMBackend": "prints its configuration, an object whose class has a way of its own to print",
    "QuantAct": "prints values of its buffers, which would have to be read",
    "QuantLinear": "wraps its own name and attributes in another pair of brackets",
}


@pytest.mark.parametrize("name", names())
def test_every_module_prints_as_it_does_in_transformers(name: str) -> None:
    for path, module in make(name).named_modules():
        kind = type(module)
        if kind.__name__ not in OTHERWISE:
            assert (path, _printed(module)) == (path, _expected(module))


def _printed(module: nn.Module) -> str:
    layer = taken_apart(module)
    return f"{layers.name(layer.class_name or '')}({layers.extra_repr(*layer)})"


def _expected(module: nn.Module) -> str:
    """What it prints of itself, without its children; a class may override `__repr__` instead of `extra_repr`."""
    if type(module).__repr__ not in {nn.Module.__repr__, nn.ModuleList.__repr__}:
        return repr(module)
    return f"{type(module).__name__}({module.extra_repr()})"


def test_what_prints_otherwise_is_still_there() -> None:
    kinds = {type(module).__name__ for name in ("xlstm", "ibert") for module in make(name).modules()}
    assert OTHERWISE.keys() <= kinds
