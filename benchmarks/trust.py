"""What scanners find in hostile files, and in files that nobody means harm with: statedict beside the others.

    python benchmarks/trust.py --python /path/to/venv/bin/python --real FOLDER --json results.json

The other tools are run by the Python of an environment that has them (picklescan, fickling, modelscan, sft-cli,
ckptkit), each file apart from the others; whatever ends the process, or takes more than a minute, is a crash. The
hostile files are made by `tests/corpus`, into a folder of their own, in which a file `statedict-was-here` would tell
that one was run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SECONDS = 60

_LOOP = """
import sys, json, io, os, contextlib, warnings, logging
warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
out = os.fdopen(os.dup(1), "w")
{setup}
for line in sys.stdin:
    path = line.rstrip("\\n")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            said = look(path)
        except SystemExit as error:
            said = "flagged" if error.code else "clean"
        except BaseException as error:
            said = "crashed: " + type(error).__name__
    print(json.dumps([path, said]), file=out, flush=True)
"""
TOOLS = {
    "statedict": """
from statedict.checking import check
from statedict.errors import StatedictError
def look(path):
    try:
        found = check(path, only=["code", "structure", "integrity", "readable"])
    except StatedictError as error:
        return "refused"
    if found.grade == "dangerous":
        return "dangerous"
    return "flagged" if found.at_least("warning") else "clean"
""",
    "picklescan": """
from picklescan.scanner import scan_file_path
def look(path):
    found = scan_file_path(path)
    if found.issues_count:
        return "dangerous"
    return "refused" if found.scan_err else "flagged" if found.suspicious_count else "clean"
""",
    "fickling": """
import zipfile
from fickling.loader import scan_file, scan_zip_archive
from fickling.analysis import Severity
def look(path):
    if zipfile.is_zipfile(path):
        found = list(scan_zip_archive(path, graceful=True).values())
    else:
        found = [scan_file(path, graceful=True)]
    worst = max((each.severity for each in found if each.results), default=Severity.LIKELY_SAFE)
    if worst > Severity.LIKELY_SAFE:
        return "dangerous" if worst >= Severity.LIKELY_OVERTLY_MALICIOUS else "flagged"
    return "refused" if any(each.errors for each in found) else "clean"
""",
    "modelscan": """
from modelscan.modelscan import ModelScan
from pathlib import Path
def look(path):
    scanner = ModelScan()
    found = scanner.scan(Path(path))
    if found["issues"]:
        return "dangerous"
    return "refused" if found["errors"] else "clean"
""",
    "torch.load(weights_only=True)": """
import torch
def look(path):
    try:
        torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        return "refused"
    return "clean"
""",
    "sft check": """
import subprocess, os
def look(path):
    program = os.path.join(os.path.dirname(sys.executable), "sft")
    done = subprocess.run([program, "check", path], capture_output=True, text=True)
    if "Traceback" in done.stderr + done.stdout:
        return "crashed: traceback"
    return "flagged" if done.returncode else "clean"
""",
    "ckptkit validate": """
import subprocess, os
def look(path):
    program = os.path.join(os.path.dirname(sys.executable), "ckptkit")
    done = subprocess.run([program, "validate", path], capture_output=True, text=True)
    text = done.stdout + done.stderr
    if "Traceback" in text:
        return "crashed: traceback"
    return "flagged" if done.returncode or "invalid" in text.lower() or "error" in text.lower() else "clean"
""",
}
"""How each is asked: `look(path)` says "dangerous", "flagged" (suspicious, unknown, damaged), "refused" or "clean"."""
OURS = ("statedict", "torch.load(weights_only=True)")
"""Those that this environment has."""


def asked(tool: str, python: str, paths: list[Path], folder: Path) -> dict[str, str]:
    """What a tool says of each file."""
    left, said = [str(path) for path in paths], dict[str, str]()
    program = _LOOP.format(setup=TOOLS[tool])
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src") if tool == "statedict" else ""}
    while left:
        try:
            done = subprocess.run(
                [python, "-c", program],
                input="\n".join(left) + "\n",
                text=True,
                cwd=folder,
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=SECONDS + 2 * len(left),
                env=environment,
            )
            lines = done.stdout.splitlines()
        except subprocess.TimeoutExpired as error:
            lines = (error.stdout or b"").decode().splitlines()
        said.update(json.loads(line) for line in lines)
        rest = [path for path in left if path not in said]
        if rest:
            said[rest[0]] = "crashed: the process ended"
            rest = rest[1:]
        left = rest
    return said


def main() -> None:
    """Ask every tool of every file, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", required=True, help="of the environment that has the other tools")
    parser.add_argument("--real", type=Path, help="a folder of files that nobody means harm with")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tools", nargs="*", default=list(TOOLS))
    given = parser.parse_args()
    from tests.corpus import benign
    from tests.corpus.files import build

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as sound:
        hostile = build(Path(folder))
        paths = [Path(folder) / name for name in hostile]
        good = benign.build(Path(sound))
        good += (
            [path for path in sorted(given.real.rglob("*")) if path.is_file() and path.name != ".lock"]
            if given.real
            else []
        )
        results: dict[str, Any] = {}
        for tool in given.tools:
            python = sys.executable if tool in OURS else given.python
            found = asked(tool, python, paths, Path(folder))
            marker = Path(folder) / "statedict-was-here"
            ran = marker.exists()
            marker.unlink(missing_ok=True)
            named = {hostile[Path(path).name].name: said for path, said in found.items()}
            results[tool] = {"hostile": named, "benign": asked(tool, python, good, Path(folder)), "executed": ran}
            kinds = {each.name: each.kind for each in hostile.values()}
            print(tool, _counted(results[tool], kinds), flush=True)
        if given.json:
            given.json.write_text(json.dumps(results, indent=1))


def _counted(result: dict[str, Any], kinds: dict[str, str]) -> dict[str, Any]:
    table: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, said in result["hostile"].items():
        table[kinds[name]][said.partition(":")[0]] += 1
    table["benign"].update(said.partition(":")[0] for said in result["benign"].values())
    return {kind: dict(counts) for kind, counts in table.items()} | {"executed": result["executed"]}


if __name__ == "__main__":
    main()
