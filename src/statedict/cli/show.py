"""`statedict show`: one tensor, module or attribute of a checkpoint."""

from dataclasses import asdict
from typing import Any

import click

from statedict.cli import output
from statedict.cli.checkpoint import Checkpoint
from statedict.cli.completing import all_names
from statedict.cli.options import of_checkpoint
from statedict.errors import MissingExtraError
from statedict.opaque import Opaque
from statedict.ops.find import NamedAttribute, NamedModule, find, first_values
from statedict.ops.select import NamedTensor, named_modules
from statedict.ops.sizes import sizes
from statedict.tree import printing
from statedict.views import details
from statedict.views.documents import document, plain, schema, tensor_fields
from statedict.views.outline import Outline
from statedict.views.tree import tree


@click.command(short_help="One tensor, module or attribute: everything known, first values.")
@of_checkpoint
@click.argument("name", default="", shell_complete=all_names)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(checkpoint: Checkpoint, name: str, as_json: bool) -> None:
    """Show everything that is known of NAME in FILE: a tensor, a module, or an attribute.

    The name of an attribute goes on into what it holds: `hyper_parameters.optimizer.lr`. Without NAME, the whole.
    """
    found = find(checkpoint.model, name)
    if isinstance(found, NamedTensor):
        _show_tensor(checkpoint, found, as_json)
    elif isinstance(found, NamedModule):
        _show_module(checkpoint, found, as_json)
    else:
        _show_attribute(found, as_json)


def _show_tensor(checkpoint: Checkpoint, entry: NamedTensor, as_json: bool) -> None:
    values = _first_values(entry)
    source, optimized = checkpoint.index.source, checkpoint.optimized([entry])
    if as_json:
        fields = plain(tensor_fields(entry, checkpoint.first_names, source, optimized))
        fields["first_values"] = None if isinstance(values, str) else plain(values)
        output.print_text(document(schema=schema("show-tensor"), **fields))
        return
    names = [other.name for other in checkpoint.entries if other.tensor is entry.tensor]
    facts = details.tensor_facts(entry, names, values, source, optimized)
    output.print_lines(details.details(entry.name, "tensor", facts, output.width()))


def _first_values(entry: NamedTensor) -> list[Any] | str:
    try:
        return first_values(entry.tensor)
    except (MissingExtraError, TypeError, ValueError) as error:
        return f"not shown: {error}"


def _show_module(checkpoint: Checkpoint, found: NamedModule, as_json: bool) -> None:
    outline = Outline(found.module)
    total = outline.root.sizes()
    if as_json:
        output.print_text(document(schema=schema("show-module"), **_module_fields(checkpoint, found)))
        return
    names = [
        name for name, module, _ in named_modules(checkpoint.model) if module is found.module and name != found.name
    ]
    facts = details.module_facts(found.module, total, names, outline.modules - 1)
    title = found.name or checkpoint.name
    width = output.width()
    lines = details.details(title, printing.kind(found.module) or found.module.container or "module", facts, width)
    if found.module.kind and not found.module.inferred:
        attributes = [(name, value) for name, value in found.module.attributes.items()]
        lines += (
            [[], *details.details("attributes", "", details.attribute_facts(dict(attributes)), width)]
            if attributes
            else []
        )
    if outline.root.children or outline.root.values:
        lines += [[], *tree(outline, found.name.rpartition(".")[2] or title, depth=1, width=width)]
    output.print_lines(lines)


def _module_fields(checkpoint: Checkpoint, found: NamedModule) -> dict[str, Any]:
    name, module = found
    prefix = name + "." if name else ""
    inside = [entry for entry in checkpoint.entries if entry.name.startswith(prefix)]
    total = sizes(inside)
    return {
        "name": name,
        "kind": module.kind,
        "inferred": module.inferred,
        "class": module.class_name,
        "training": module.training,
        "parameters": total.parameters,
        "nbytes": total.nbytes,
        "attributes": plain(module.attributes),
        "inferred_attributes": plain(module.inferred_attributes),
        "quantization": None if module.quantization is None else plain(asdict(module.quantization)),
        "modules": [path for path, *_ in named_modules(module) if path],
        "tensors": [plain(tensor_fields(entry, checkpoint.first_names, checkpoint.index.source)) for entry in inside],
    }


def _show_attribute(found: NamedAttribute, as_json: bool) -> None:
    if as_json:
        output.print_text(document(schema=schema("show-value"), name=found.name, value=plain(found.value)))
        return
    value = found.value
    what = f"attribute, {value.name if isinstance(value, Opaque) else type(value).__name__}"
    output.print_lines(details.details(found.name, what, details.attribute_facts(value), output.width()))
