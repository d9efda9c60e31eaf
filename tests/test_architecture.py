"""The floors of the house: imports point down only, and only where they are meant to."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "statedict"
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "errors",
        "accelerator",
        "amounts",
        "displaying",
        "extras",
        "dtypes",
        "limits",
        "collector",
        "narrow",
        "tuples",
        "_version",
    ),
    ("source", "composed", "index", "columns", "opaque", "plan", "remote", "executors"),
    ("formats",),
    ("expressions", "tree"),
    (
        "moments",
        "kernels",
        "pair_kernels",
        "units",
        "engine",
        "summarizing",
        "distribution",
        "structure",
        "alike",
        "difference",
        "ops",
    ),
    (
        "opening",
        "planning",
        "catalog",
        "arrays",
        "configured",
        "writing",
        "saving",
        "adapters",
        "checking",
        "companions",
        "editing",
        "diffing",
        "manifest",
        "live",
        "matching",
        "loading",
        "verifying",
    ),
    ("views",),
    ("cli", "web", "terminal", "__main__"),
)
"""Each is a file, or a folder, of `src/statedict`. The table of contents, `__init__`, may import from everywhere below
the last floor; `interop` stands beside the house: see `test_interop_is_reached_only_when_asked_for`."""
BESIDE = "interop"
CONTENTS = "__init__"

FRAMEWORKS = frozenset(
    {
        *("torch", "tensorflow", "keras", "jax", "flax", "safetensors", "transformers", "onnx"),
        *("dask", "distributed", "fsspec", "aiohttp", "s3fs", "huggingface_hub"),
    }
)
AT_IMPORT = {
    "click": ("cli",),  # the command line is made of it
    "starlette": ("web",),  # loaded when a page is served
    "rich": ("terminal",),
    "textual": ("terminal",),  # loaded when the terminal explorer begins
    "numpy": (
        "kernels",
        "distribution",
        "structure",
        "alike",
        "pair_kernels",
    ),  # never loaded before there is data to work on
}
"""Third-party libraries that the room may import as it is imported itself; any other is imported where it is used."""

MOST_LINES = 400
MOST_FUNCTION_LINES = 60


class Arrow(NamedTuple):
    """One import of one file."""

    room: str
    where: str
    """The file and line, for a person."""
    target: str
    """The full dotted name of what it imports."""
    immediate: bool
    """Whether it happens as the file itself is imported, and not in a function."""
    typing_only: bool

    @property
    def library(self) -> str:
        return self.target.partition(".")[0]

    @property
    def room_of_target(self) -> str | None:
        """The room of ours that it leads to, or None where it leads outside."""
        rest = self.target.partition(".")[2]
        return (rest.partition(".")[0] or CONTENTS) if self.library == "statedict" else None


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    """The file's room: its name, or that of the folder it is in."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def floor(name: str) -> int:
    return next((level for level, rooms in enumerate(FLOORS) if name in rooms), -1)


def arrows(path: Path) -> Iterator[Arrow]:
    """Every import of the file, those in functions and those for the type checker among them."""
    yield from _arrows(ast.parse(path.read_text()), path, immediate=True, typing_only=False)


def _arrows(node: ast.AST, path: Path, *, immediate: bool, typing_only: bool) -> Iterator[Arrow]:
    for child in ast.iter_child_nodes(node):
        for target in _targets(child, path):
            yield Arrow(room(path), f"{path.relative_to(SOURCE)}:{child.lineno}", target, immediate, typing_only)  # type: ignore[attr-defined]
        yield from _arrows(
            child,
            path,
            immediate=immediate and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda),
            typing_only=typing_only or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)),
        )


def _targets(node: ast.AST, path: Path) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    package = ("statedict", *path.relative_to(SOURCE).parts[:-1])
    above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
    module = ".".join(part for part in (above, node.module) if part)
    if module == "statedict":  # `from statedict import formats` leads to `statedict.formats`
        return [f"{module}.{alias.name}" if _is_room(alias.name) else module for alias in node.names]
    return [module]


def _is_room(name: str) -> bool:
    return (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").is_file()


ARROWS = [arrow for path in files() for arrow in arrows(path)]


def imports(condition: Callable[[Arrow], bool]) -> list[str]:
    """The imports for which the condition holds, as a failing test should print them."""
    return [f"{arrow.where} imports {arrow.target}" for arrow in ARROWS if condition(arrow)]


def test_the_imports_are_found() -> None:
    assert imports(lambda arrow: arrow.room == "index" and arrow.room_of_target == "source")
    assert imports(lambda arrow: arrow.target == "numpy" and arrow.typing_only)
    assert imports(lambda arrow: arrow.target == "numpy" and not arrow.immediate)


def test_every_file_is_in_a_room() -> None:
    assert [str(path) for path in files() if floor(room(path)) < 0 and room(path) not in {BESIDE, CONTENTS}] == []


def test_imports_point_down() -> None:
    def up(arrow: Arrow) -> bool:
        return floor(arrow.room_of_target or "") > floor(arrow.room) and arrow.room not in {BESIDE, CONTENTS}

    assert imports(up) == []


def test_the_table_of_contents_is_for_those_outside() -> None:
    """Whoever is in the house goes to the room itself; only the top floor is outside enough."""
    top = FLOORS[-1]
    assert imports(lambda arrow: arrow.room_of_target == CONTENTS and arrow.room not in top) == []
    assert imports(lambda arrow: arrow.room == CONTENTS and arrow.room_of_target in top) == []


def test_formats_and_the_tree_meet_only_in_the_index() -> None:
    tree = FLOORS[3]
    assert imports(lambda arrow: arrow.room in tree and arrow.room_of_target == "formats") == []
    assert imports(lambda arrow: arrow.room == "formats" and arrow.room_of_target in tree) == []


def test_ops_never_know_views() -> None:
    assert imports(lambda arrow: arrow.room == "ops" and arrow.room_of_target == "views") == []


def test_interop_is_reached_only_when_asked_for() -> None:
    def enters(arrow: Arrow) -> bool:
        return arrow.room_of_target == BESIDE != arrow.room

    assert imports(lambda arrow: enters(arrow) and arrow.immediate and not arrow.typing_only) == []
    assert imports(lambda arrow: arrow.room == BESIDE and arrow.room_of_target in {CONTENTS, *FLOORS[-1]}) == []


def test_only_interop_knows_frameworks() -> None:
    assert imports(lambda arrow: arrow.library in FRAMEWORKS and arrow.room != BESIDE and not arrow.typing_only) == []


def test_libraries_are_imported_where_they_are_used() -> None:
    ours = {"statedict", *sys.stdlib_module_names}

    def early(arrow: Arrow) -> bool:
        allowed = arrow.library in ours or arrow.room in AT_IMPORT.get(arrow.library, ())
        return arrow.immediate and not arrow.typing_only and not allowed and arrow.room != BESIDE

    assert imports(early) == []


@pytest.mark.parametrize("touch", ["", "[getattr(statedict, name) for name in statedict.__all__]"])
def test_import_loads_no_library(touch: str) -> None:
    program = f"import sys, statedict\n{touch}\nprint(*(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert "statedict" in loaded
    assert {"numpy", "ml_dtypes", "click", "rich", *FRAMEWORKS}.isdisjoint(loaded)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_are_short(path: Path) -> None:
    """A longer file holds a second thing: find it and name it."""
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    lengths = {f"{node.name} at line {node.lineno}": (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: length for name, length in lengths.items() if length > MOST_FUNCTION_LINES} == {}
