"""A module as PyTorch prints it."""
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001  The tree's own files look inside a `Module`.

from reprlib import recursive_repr
from typing import TYPE_CHECKING

from statedict.tree import layers

if TYPE_CHECKING:
    from statedict.tree.module import Module


@recursive_repr("Module(...)")
def text(module: "Module") -> str:
    """What `print` shows of a module and all below it; "Module(...)" for one inside itself."""
    extra = module.extra_repr()
    lines = extra.split("\n") if extra else []
    if len(lines) == 1 and not module._modules:
        return f"{module._get_name()}({extra})"
    lines += [f"({name}): {indented(repr(child))}" for name, child in module._modules.items()]
    return f"{module._get_name()}({brackets(lines)})"


def kind(module: "Module") -> str:
    """The kind of a module, "Conv2d?" where it was inferred; "" where it is not known."""
    return (module.kind or "") + "?" * module.inferred


def extra_repr(module: "Module") -> str:
    """What `print` shows of a module's own attributes, or of those that were inferred."""
    if module.inferred:
        from statedict.tree.infer.layout import inferred_repr

        return inferred_repr(module)
    layer = _layer(module)
    children = {name: _layer(child) for name, child in module._modules.items() if child is not None}
    return layers.extra_repr(layer.class_name, layer.attributes, layer.tensors, children)


def _layer(module: "Module") -> layers.Layer:
    return layers.Layer(module.class_name, module.attributes, {**module._parameters, **module._buffers})


def folded(texts: list[str]) -> str:
    """What stands between a list's brackets: equal neighbours as one, "(0-5): 6 x Linear(...)"."""
    lines: list[str] = []
    first = 0
    for at, text in enumerate(texts):
        if at + 1 < len(texts) and texts[at + 1] == text:
            continue
        count = at + 1 - first
        line = f"({first}): {text}" if count == 1 else f"({first}-{at}): {count} x {text}"
        lines.append(indented(line, blank="  "))
        first = at + 1
    return brackets(lines)


def indented(text: str, blank: str = "") -> str:
    """The text with all lines but the first two spaces further in; what begins a blank line is `blank`."""
    first, *rest = text.split("\n")
    return "\n".join([first, *("  " + line if line.strip() else blank + line if blank else "" for line in rest)])


def brackets(lines: list[str]) -> str:
    """What stands between a module's brackets when it prints these lines."""
    return "\n  " + "\n  ".join(lines) + "\n" if lines else ""
