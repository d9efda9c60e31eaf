"""Program text in and beside checkpoints: TorchScript's, whose functions are few and known, and Python's."""

import ast
import re
import warnings
from collections.abc import Iterator

from statedict.index import shown
from statedict.ops.check.code.act import Act
from statedict.ops.check.code.names import verdict

_OPS = re.compile(r"\bops\.(\w+)\.(\w+)\(")
_FILES = re.compile(
    r"\b(?:torch|ops\.aten|ops\.prim)\.(from_file|save|load|_load|LoadLibrary|load_library)\(([^\n]{0,80})"
)
_NAMESPACES = frozenset(
    {
        "aten",
        "prim",
        "prims",
        "quantized",
        "_quantized",
        "quantized_decomposed",
        "torchvision",
        "torchaudio",
        "profiler",
        "mkldnn",
        "mkldnn_prepacked",
        "mkl",
        "xnnpack",
        "onednn",
        "metal",
        "metal_prepack",
        "vulkan",
        "vulkan_prepack",
        "sparse",
        "rnn",
        "cuda",
        "nnapi",
        "static_runtime",
        "prepacked",
    }
)
_SIGN = re.compile(r"\w+|[^\w\s]")
_RUNS = frozenset(
    {
        "runs programs", "runs Python code", "runs text as code", "runs programs and opens connections",
        "calls native code and writes to any memory", "makes code objects of bytes", "opens connections",
        "runs programs, and reads, writes and removes files", "runs a file as code",
    }
)  # fmt: skip
_HARMLESS = ("os.path", "os.environ", "os.getenv", "os.sep", "os.linesep", "os.cpu_count", "os.getcwd", "os.fspath")


def script_acts(text: str, where: str) -> Iterator[Act]:
    """What TorchScript's code would do beyond computing: files, and functions of libraries that nobody knows."""
    for found in _FILES.finditer(text):
        reason = "reads or writes files, which TorchScript can"
        yield Act("dangerous", where, shown(found[0]), reason, found.start())
    told: set[str] = set()
    for found in _OPS.finditer(text):
        if found[1] not in _NAMESPACES and found[1] not in told:
            told.add(found[1])
            reason = f"runs native code of a library `{shown(found[1])}`, which must be loaded before"
            yield Act("unknown", where, f"torch.ops.{shown(found[1])}.{shown(found[2])}(…)", reason, found.start())


def signs(text: str) -> int:
    """How many words and signs a program has, which is what its tree grows with."""
    return sum(1 for _ in _SIGN.finditer(text))


def python_acts(text: str, where: str, length: int = 0, most: int = 1) -> Iterator[Act]:
    """The calls in Python code that run programs or text; those that importing it makes are dangerous.

    Nothing is looked for in a program that has more than `most` signs.
    """
    if length > most:
        yield Act("unknown", where, "", f"is Python code of {length:,} words and signs, which is not looked into")
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about code that is not ours, and would show it
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    names = _imports(tree)
    stack: list[tuple[ast.AST, bool]] = [(tree, True)]
    while stack:
        node, at_import = stack.pop()
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        stack += [(child, at_import and not inside) for child in ast.iter_child_nodes(node)]
        if isinstance(node, ast.Call) and (called := _dotted(node.func, names)):
            module, _, name = called.rpartition(".")
            thought = verdict(module or "builtins", name)
            if thought.reason in _RUNS and not called.startswith(_HARMLESS):
                when = "when it is imported" if at_import else "in a function"
                grade = "dangerous" if at_import else "unknown"
                yield Act(grade, where, f"{called}(…)", f"{thought.reason}, {when}", getattr(node, "lineno", None))


def _imports(tree: ast.AST) -> dict[str, str]:
    """What each name of the module stands for, by its imports."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(
                (each.asname or each.name.partition(".")[0], (each.asname and each.name) or each.name.partition(".")[0])
                for each in node.names
            )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update((each.asname or each.name, f"{node.module}.{each.name}") for each in node.names)
    return names


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    """The full name of what is called, where it is a name; "" where it is computed."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    if node.id not in names and parts:
        return ""
    return ".".join([names.get(node.id, node.id), *reversed(parts)])
