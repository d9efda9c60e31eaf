"""What kind of module each one of a bare state dict is, told from names, shapes and neighbours.

Here is what every tree holds; how kinds are told is loaded when the first of them is asked for.
"""

from typing import TYPE_CHECKING

from statedict.tree.deferred import BUILDING

if TYPE_CHECKING:
    from statedict.tree.infer.quantization import Quantization
    from statedict.tree.module import Module


class Inference:
    """The kinds of the modules below a root, found when the first of them is asked for."""

    def __init__(self) -> None:
        self.root: Module | None = None
        """The root, as soon as the tree is whole."""

    def __call__(self) -> None:
        """Tell every module of the tree of which no file tells it what kind it is; nothing the second time.

        Another thread that asks meanwhile waits.
        """
        with BUILDING:
            root, self.root = self.root, None
            if root is not None:
                from statedict.tree.infer.tree import infer

                infer(root)


def tell(module: "Module", kind: str | None, quantization: "Quantization | None") -> None:
    """Write into a module of which that is asked what was found."""
    held = module.__dict__
    if "_inference" not in held:
        return
    if quantization is not None:
        held["quantization"] = quantization
    if kind is not None:
        held["kind"], held["inferred"] = kind, True
    del held["_inference"]  # at last: until then another thread waits for what is told
