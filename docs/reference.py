"""Every name of `import statedict`, from the docstrings and the source: what `docs/reference.md` holds.

Signatures are taken from the source, as their authors wrote them, so that they do not depend on the Python that runs
this. What has no docstring has PyTorch's name and does what PyTorch's documentation says; of these, names are listed.
"""

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import statedict

GROUPS: dict[str, tuple[str, ...]] = {
    "Open, save, load": ("open", "save", "Saved", "load_into", "Loaded", "Limits", "Opaque"),
    "The tree": ("Module", "Tensor", "Parameter", "Buffer", "DType", "dtype"),
    "Look": ("select", "stats", "Stats", "check", "Report", "Finding", "memory", "plot", "optimizer_parameters"),
    "Compare": (
        "diff", "Diff", "match", "Match", "write_rules", "fingerprint", "Fingerprint", "write_manifest",
        "read_manifest",
    ),
    "Make another": (
        "rename", "strip_prefixes", "drop", "keep", "cast", "graft", "cat", "stack", "where", "full", "merge",
        "fold_lora", "extract_lora", "save_adapter", "prune", "masks", "shrink", "Shrunk",
    ),
    "Live models": (
        "summary", "param_groups", "no_decay", "layer_decay", "freeze", "unfreeze", "frozen", "prune_live",
        "shrink_live",
    ),
    "Errors": (
        "StatedictError", "FormatError", "UnknownFormatError", "LimitError", "ReadError", "WriteError", "PatternError",
        "MissingExtraError",
    ),
}  # fmt: skip
_OTHERS = "More"
_WIDEST = 100


def reference() -> str:
    """The page's text: each name under the heading of its group, those of none at the end."""
    grouped = {name for names in GROUPS.values() for name in names}
    others = tuple(name for name in statedict.__all__ if name not in grouped and not name.startswith("_"))
    sections = {**GROUPS, **({_OTHERS: others} if others else {})}
    return "\n\n".join(line for group, names in sections.items() for line in (f"## {group}", *map(_entry, names)))


def _entry(name: str) -> str:
    """What is to be said of one name: its signature, its docstring, and of a class its members."""
    value: Any = getattr(statedict, name)
    if isinstance(value, type):
        return "\n\n".join((f"### {name}", _code(_class_line(value)), _doc(value), *_members(value)))
    return "\n\n".join((f"### {name}", _code(_signature(value, name)), _doc(value)))


def _code(text: str) -> str:
    return f"```py\n{text}\n```"


def _doc(value: Any) -> str:
    return inspect.getdoc(value) or ""


def _class_line(value: type) -> str:
    bases = [base.__name__ for base in value.__bases__ if base is not object]
    return f"class {value.__name__}({', '.join(bases)})" if bases else f"class {value.__name__}"


def _members(value: type) -> Iterator[str]:
    """Its fields and methods that have a text of their own, then the names of the rest."""
    untold: list[str] = []
    told = [_item(f"{field}: {kind}", text) for field, kind, text in _fields(value)]
    for name, member in _public(value):
        if doc := _own_doc(member):
            is_plain = inspect.isroutine(member) or isinstance(member, classmethod | staticmethod)
            told.append(_item(_signature(member, name).removeprefix("def ") if is_plain else name, doc))
        elif not isinstance(member, str | int | float | tuple):
            untold.append(name)
    if told:
        yield "\n".join(told)
    if untold:
        yield "As in PyTorch, or in Python: " + ", ".join(f"`{name}`" for name in untold) + "."


def _item(head: str, text: str) -> str:
    first, *rest = text.split("\n\n")
    more = "".join(f"\n\n{textwrap.indent(part, '    ')}" for part in rest)
    said = f": {' '.join(first.split())}{more}" if text else ""
    return f"- `{' '.join(head.split()).replace('( ', '(').replace(', )', ')')}`{said}"


def _public(value: type) -> list[tuple[str, Any]]:
    """The public members of a class and of those of ours that it inherits from, by name."""
    found: dict[str, Any] = {}
    for base in value.__mro__:
        if base.__module__.startswith("statedict"):
            slots = getattr(base, "__slots__", ())
            for name, member in vars(base).items():
                if not name.startswith("_") and name not in slots:
                    found.setdefault(name, member)
    fields = {name for name, _, _ in _fields(value)}
    return sorted((name, member) for name, member in found.items() if name not in fields)


def _own_doc(member: Any) -> str:
    function = _function(member)
    doc = getattr(function, "__doc__", None) if callable(function) else None
    return inspect.cleandoc(doc) if doc else ""


def _function(member: Any) -> Any:
    if isinstance(member, property):
        return member.fget
    if isinstance(member, functools.cached_property):
        return member.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return getattr(member, "__func__", member)


def _fields(value: type) -> Iterator[tuple[str, str, str]]:
    """Yield each public field that the class's source annotates, with its type and the text below it."""
    (node,) = (entry for entry in _tree(value).body if isinstance(entry, ast.ClassDef))
    for entry, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            if not entry.target.id.startswith("_") and isinstance(text, str):
                yield entry.target.id, _annotation(entry.annotation), inspect.cleandoc(text)


def _signature(value: Any, name: str) -> str:
    """`def name(...) -> ...` as in the source, on lines of its own for each parameter where it is long."""
    (node,) = (entry for entry in _tree(_function(value)).body if isinstance(entry, ast.FunctionDef))
    arguments = node.args
    if arguments.posonlyargs[:1] or arguments.args[:1]:
        first = (arguments.posonlyargs or arguments.args)[0]
        if first.arg in {"self", "cls"}:
            (arguments.posonlyargs or arguments.args).remove(first)
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg) and argument.annotation is not None:
            argument.annotation = _plain(argument.annotation)
    returns = f" -> {_annotation(node.returns)}" if node.returns else ""
    given = [re.sub(r"^(\w+: .+?)=(?!=)", r"\1 = ", each) for each in _separate(ast.unparse(arguments))]
    line = f"def {name}({', '.join(given)}){returns}"
    if len(line) <= _WIDEST:
        return line
    return f"def {name}(\n" + "".join(f"    {each},\n" for each in given) + f"){returns}"


def _separate(arguments: str) -> list[str]:
    """The parameters of a list of them: it is divided at the commas that are in no bracket."""
    found, depth = [""], 0
    for letter in arguments:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [each.strip() for each in found if each.strip()]


def _tree(value: Any) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(value))))


def _annotation(node: ast.expr) -> str:
    return ast.unparse(_plain(node))


def _plain(node: ast.expr) -> ast.expr:
    """An annotation without the quotes that names have which are not imported at run time."""

    class Unquoted(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.expr:
            return ast.parse(node.value, mode="eval").body if isinstance(node.value, str) else node

        def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
            if isinstance(node.value, ast.Name) and node.value.id == "Literal":
                return node  # whose texts are texts
            self.generic_visit(node)
            return node

    return Unquoted().visit(node)
