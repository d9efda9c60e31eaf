"""What a layer is called and how it prints, from what a file says of it: the table of `torch.nn` and its relatives."""

from statedict.tree.layers.lookup import base, container, extra_repr, hides_children, name
from statedict.tree.layers.parts import Layer

__all__ = ["Layer", "base", "container", "extra_repr", "hides_children", "name"]
