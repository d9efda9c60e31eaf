"""`show`: everything that is known of one tensor, module or attribute."""

from collections.abc import Mapping, Sequence
from typing import Any

from statedict.index import EMPTY
from statedict.ops.find import entries_of
from statedict.ops.select import NamedTensor
from statedict.ops.sizes import Sizes
from statedict.source import Source
from statedict.tree import printing
from statedict.tree.module import Module
from statedict.views import numbers
from statedict.views.lines import Line, Style, escaped, fitted, padded, widest
from statedict.views.values import value_text

Fact = tuple[str, str]


def tensor_facts(
    entry: NamedTensor,
    names: Sequence[str],
    values: Sequence[Any] | str,
    source: Source,
    optimized: Mapping[str, str] = EMPTY,
) -> list[Fact]:
    """What is known of one tensor. `names` are all that it has; `values` its first ones, or why they are not shown.

    `optimized` names the parameters that an optimizer's tensors belong to.
    """
    info, owner = entry.tensor.info, entry.owner
    facts = [("role", f"{entry.role}{f' of a {printing.kind(owner)}' if owner.kind else ''}")]
    facts += [("of", escaped(optimized[entry.name]))] if entry.name in optimized else []
    facts += [("dtype", info.dtype.name), ("shape", numbers.shape(info.shape))]
    if info.stride is not None:
        facts.append(("stride", numbers.shape(info.stride)))
    facts += [("values", numbers.exact(info.numel)), ("bytes", _bytes(info.nbytes))]
    if info.extent is not None:
        outer, offset = info.extent.source.located(info.extent.offset)
        place = f"byte {offset:,} of {outer.name}" if outer is source else f"unpacked from {info.extent.source.name}"
        facts.append(("at", escaped(place)))
    if info.storage is not None:
        facts.append(("storage", f"{_bytes(info.storage.size)}, of which it is a part"))
    facts += [("device", info.device), ("requires grad", "yes" if entry.tensor.requires_grad else "no")]
    facts += _special(entry)
    facts += [("also named", escaped(name)) for name in names if name != entry.name]
    facts.append(("first values" if info.numel > len(values) else "all values", _values(values, info.numel)))
    return facts


def _special(entry: NamedTensor) -> list[Fact]:
    encoding = entry.tensor.info.encoding
    facts: list[Fact] = []
    if encoding.kind:
        facts.append(("class", escaped(encoding.kind)))
    if encoding.layout != "strided":
        facts.append(("layout", encoding.layout))
    if encoding.byteorder != "little":
        facts.append(("byte order", encoding.byteorder))
    facts += [(bit, "set, and applied when it is read") for bit in ("conj", "neg") if getattr(encoding, bit)]
    facts += [(name, f"{numbers.shape(part.shape)} {part.dtype.name}") for name, part in encoding.parts.items()]
    facts += [(escaped(name), value_text(value)) for name, value in encoding.attributes.items()]
    return facts


def _bytes(count: int) -> str:
    return f"{count:,}" if count < 1024 else f"{count:,} ({numbers.size(count)})"


def _values(values: Sequence[Any] | str, numel: int) -> str:
    if isinstance(values, str):
        return values
    return ", ".join(map(numbers.value, values)) + (", …" if numel > len(values) else "") or "none"


def module_facts(module: Module, sizes: Sizes, names: Sequence[str], modules: int) -> list[Fact]:
    """What is known of one module; `names` are those that it has, `modules` the number of modules in it."""
    facts: list[Fact] = []
    if module.kind:
        name = printing.kind(module)
        known = "inferred from names and shapes" if module.inferred else escaped(module.class_name or module.kind)
        facts.append(("class", known))
        if written := module.extra_repr():
            facts.append(("prints as", f"{escaped(name)}({escaped(written)})"))
    if module.kind and not module.inferred:
        facts.append(("mode", "training" if module.training else "evaluation"))
    facts += [("parameters", numbers.exact(sizes.parameters)), ("bytes", _bytes(sizes.nbytes))]
    facts += [("tensors", numbers.exact(sizes.tensors))]
    facts += [("modules", f"{modules:,} in it")] if modules else []
    facts += [("also named", escaped(name)) for name in names]
    return facts


def attribute_facts(value: Any) -> list[Fact]:
    """The entries of a dict, list or object, one each; of another value, itself."""
    entries = entries_of(value)
    if entries is None:
        return [("value", _whole(value))]
    return [(escaped(name), value_text(held, 200)) for name, held in entries]


def _whole(value: Any) -> str:
    return escaped(value) if isinstance(value, str) else value_text(value, 10_000)


def details(name: str, what: str, facts: Sequence[Fact], width: int | None = None) -> list[Line]:
    """A line of `name` and `what` it is, then one a fact, each cut to `width` columns (None: never)."""
    column = min(widest([label for label, _ in facts]), 40)
    head: Line = [(escaped(name), "bold"), ("  " + what, "kind")]
    lines: list[Line] = [head]
    for label, text in facts:
        style: Style = "number" if label.endswith("values") else ""
        lines.append([("  " + padded(label, column) + "  ", "dim"), (text, style)])
    return [fitted(line, width) for line in lines]
