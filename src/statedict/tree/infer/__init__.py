"""What kind of module each one of a bare state dict is, told from names, shapes and neighbours."""

from statedict.tree.infer.layout import inferred_attributes, inferred_repr
from statedict.tree.infer.quantization import Quantization
from statedict.tree.infer.tree import Inference, infer, tell

__all__ = ["Inference", "Quantization", "infer", "inferred_attributes", "inferred_repr", "tell"]
