"""The documentation, with what its commands print today: `make docs` writes it, the tests compare it.

Three kinds of text in the Markdown files are made here, in a folder that has `examples/` and nothing else:

- in a `console` block, what follows each line that begins with `$ `: the output of that command;
- in a `pycon` block, what follows each `>>>` line: the output of that statement;
- between `<!-- generated: NAME -->` and `<!-- end -->`: what `TABLES[NAME]` returns.

`python` blocks are run and left as they are. The blocks of one file share a folder and Python's names, top to bottom.
"""

import codeop
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(
    r"^```(?P<language>console|pycon|python)\n(?P<body>.*?)^```$"
    r"|^<!-- generated: (?P<table>\w+) -->\n.*?^<!-- end -->$",
    re.MULTILINE | re.DOTALL,
)


def pages() -> list[Path]:
    """The files that this script keeps current."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rendered(text: str) -> str:
    """The same page with current output. Raises what a `python` block raises."""
    page = sys.modules["example"] = ModuleType("example")  # so that what a page defines can be pickled
    names = vars(page)
    with _workplace():
        return BLOCK.sub(lambda block: _current(block, names), text)


def _current(block: re.Match[str], names: dict[str, Any]) -> str:
    if block["table"]:
        return f"<!-- generated: {block['table']} -->\n{TABLES[block['table']]()}\n<!-- end -->"
    body = block["body"]
    if block["language"] == "python":
        exec(compile(body, "<python block>", "exec"), names)  # noqa: S102 - our own page
    elif block["language"] == "console":
        body = _session(body)
    else:
        body = _dialogue(body, names)
    return f"```{block['language']}\n{body}```"


@contextlib.contextmanager
def _workplace() -> Generator[None]:
    """A temporary folder to work in, with the examples in it, so that a page can write what it likes.

    The command `statedict` is that of this Python, for what a page runs itself as well.
    """
    before = os.environ["PATH"]
    os.environ["PATH"] = os.pathsep.join([os.fspath(Path(sys.executable).parent), before])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "examples").symlink_to(ROOT / "examples")
        with contextlib.chdir(folder):
            try:
                yield
            finally:
                os.environ["PATH"] = before


def _session(body: str) -> str:
    """The shell commands of a block, each followed by what it prints on a pipe: all of it, without colour."""
    plain = {
        name: value for name, value in os.environ.items() if name not in {"COLUMNS", "FORCE_COLOR", "CLICOLOR_FORCE"}
    }
    lines: list[str] = []
    for command in (line for line in body.splitlines() if line.startswith("$ ")):
        done = subprocess.run(
            command[2:], shell=True, check=False, text=True, encoding="utf-8", env=plain,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        lines += [command, *done.stdout.splitlines()]
    return "".join(f"{line}\n" for line in lines)


def _dialogue(body: str, names: dict[str, Any]) -> str:
    """The statements of a block, each followed by what Python prints at its prompt."""
    lines: list[str] = []
    statement: list[str] = []
    for line in (line for line in body.splitlines() if line.startswith((">>>", "..."))):
        lines.append(line)
        statement.append(line[4:])
        code = codeop.compile_command("\n".join(statement), "<pycon block>", "single")
        if code is not None:
            lines += _printed(code, names).splitlines()
            statement = []
    return "".join(f"{line}\n" for line in lines)


def _printed(code: Any, names: dict[str, Any]) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        try:
            exec(code, names)  # noqa: S102 - our own page
        except Exception as error:  # noqa: BLE001 - shown on the page as Python shows it
            print("Traceback (most recent call last):\n    ...")
            print(f"{type(error).__module__}.{type(error).__name__}: {error}".removeprefix("builtins."))
    return output.getvalue()


def _formats() -> str:
    """The table of the formats, from the registry itself."""
    from statedict.formats import FORMATS

    rows = ["| name | usual suffixes | can | what it is |", "|---|---|---|---|"]
    rows += [
        f"| {entry.name} | {' '.join(f'`{suffix}`' for suffix in entry.suffixes)} "
        f"| {'read, write' if entry.writes else 'read'} | {entry.about} |"
        for entry in FORMATS
    ]
    return "\n".join(rows)


def _reference() -> str:
    """Every name of the library, from its docstrings."""
    from docs.reference import reference

    return reference()


def _schemas() -> str:
    """The table of the JSON documents, from their schemas."""
    from statedict.views.documents import SCHEMAS

    rows = ["| document | `schema` | file |", "|---|---|---|"]
    for kind, version in SCHEMAS.items():
        name = f"{kind}-{version}.json"
        held = json.loads((ROOT / "src" / "statedict" / "schemas" / name).read_text(encoding="utf-8"))
        rows.append(f"| {held['title']} | `{held['$id']}` | `{name}` |")
    return "\n".join(rows)


TABLES: dict[str, Callable[[], str]] = {"formats": _formats, "reference": _reference, "schemas": _schemas}


def main() -> None:
    """Write every page anew, and say which ones changed."""
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = rendered(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"{page.relative_to(ROOT)}: written")


if __name__ == "__main__":
    main()
