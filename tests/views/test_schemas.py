"""Every document that `--json` prints says which schema it follows, and follows it; nothing in it is undescribed."""

import json
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator
from safetensors.torch import load_file, save_file

from statedict.cli.commands import commands
from statedict.views.documents import SCHEMAS, schema
from tests.commands import run
from tests.sample_checkpoints import write_all

CASES = {
    "tree": ["tree", "train.ckpt", "--json"],
    "tree of repeated modules": ["tree", "language_whole.pt", "--json"],
    "tree of what was never built": ["tree", "hostile.pt", "--json"],
    "memory": ["tree", "lstm.pt", "--optimizer", "adam", "--precision", "mixed", "--json"],
    "memory without a cache": ["tree", "language.pt", "--memory", "--json"],
    "ls": ["ls", "train.ckpt", "--json"],
    "ls of ties": ["ls", "language.pt", "--json"],
    "ls of nothing": ["ls", "no_tensors.pt", "--json"],
    "stats": ["stats", "net_whole.pt", "--json"],
    "stats, all of it": [
        *("stats", "net_whole.pt", "--json", "--histogram", "--structure", "--spectrum", "--if-cast", "f8_e4m3fn"),
        *("--quantiles", "0.5"),
    ],
    "stats of modules": ["stats", "train.ckpt", "--modules", "--structure", "--if-cast", "f16", "--json"],
    "stats of all": ["stats", "language.pt", "--total", "--histogram", "--json"],
    "check": ["check", "broken.safetensors", "--json"],
    "check of a pickle that names classes": ["check", "train.ckpt", "--level", "note", "--json"],
    "check of a folder": ["check", "zoo", "--json"],
    "check of nothing": ["check", "net.pt", "--json"],
    "hash": ["hash", "language.pt", "--json"],
    "hash of modules": ["hash", "language.pt", "--modules", "--json"],
    "hash of all": ["hash", "language.pt", "--total", "--json"],
    "verify": ["hash", "net.pt", "--verify", "manifest.json", "--json"],
    "verify another": ["hash", "language.pt", "--verify", "manifest.json", "--json"],
    "diff": ["diff", "net.pt", "net.safetensors", "--json"],
    "diff of others": ["diff", "net_whole.pt", "broken.safetensors", "--json"],
    "diff of a tuned one": ["diff", "net_whole.pt", "tuned.safetensors", "--json"],
    "diff of names": ["diff", "net.pt", "language.pt", "--names-only", "--json"],
    "match": ["match", "net.pt", "net.safetensors", "--json"],
    "match of others": ["match", "net.pt", "language.pt", "--json"],
    "show-tensor": ["show", "language.pt", "head.weight", "--json"],
    "show-module": ["show", "net_whole.pt", "features.1", "--json"],
    "show-module, the whole": ["show", "train.ckpt", "--json"],
    "show-value": ["show", "train.ckpt", "hyper_parameters", "--json"],
    "shrink": ["shrink", "net_whole.pt", "small.pt", "--amount", "0.5", "--chain", "features", "--json"],
    "extract-lora": ["extract-lora", "tuned.safetensors", "net.safetensors", "adapter", "--rank", "2", "--json"],
    "formats": ["formats", "--json"],
    "plan": ["stats", "net.pt", "--plan", "--json"],
    "plan of checking": ["check", "net.pt", "--plan", "--json"],
    "plan of digests": ["hash", "net.pt", "--plan", "--json"],
    "plan of comparing": ["diff", "net.pt", "net.safetensors", "--plan", "--json"],
    "plan of converting": ["convert", "net.pt", "new.safetensors", "--plan", "--json"],
    "plan of editing": ["edit", "net.pt", "new.safetensors", "--cast", "bf16", "--plan", "--json"],
    "plan of pruning": ["prune", "net.pt", "new.safetensors", "--amount", "0.5", "--plan", "--json"],
    "plan of merging": ["merge", "net.pt", "net.safetensors", "new.safetensors", "--plan", "--json"],
    "plan of writing elsewhere": ["convert", "net.pt", "memory://models/new.safetensors", "--plan", "--json"],
    "catalog-add": ["catalog", "add", "zoo", "--db", "again.duckdb", "--json"],
    "catalog-duplicates": ["catalog", "duplicates", "--db", "zoo.duckdb", "--json"],
    "catalog-lineage": ["catalog", "lineage", "--db", "zoo.duckdb", "--json"],
    "catalog-rows": ["catalog", "find", "--db", "zoo.duckdb", "--name", "*.weight", "--json"],
    "catalog-rows of SQL": ["catalog", "sql", "SELECT * FROM checkpoints", "--db", "zoo.duckdb", "--json"],
    "catalog-rows, none": ["catalog", "sql", "SELECT * FROM tensors WHERE false", "--db", "zoo.duckdb", "--json"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples, one of them with a weight of NaN, and a manifest."""
    folder = tmp_path_factory.mktemp("samples")
    write_all(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        changed(Path("net.safetensors"), Path("tuned.safetensors"), 3.0)
        changed(Path("net.safetensors"), Path("broken.safetensors"), float("nan"))
        assert run("hash", "net.pt", "--manifest", "manifest.json").code == 0
        (folder / "zoo").mkdir()
        for name in ("net.pt", "net.safetensors", "tuned.safetensors"):
            shutil.copy(name, "zoo")
        assert run("catalog", "add", "zoo", "--db", "zoo.duckdb", "--prints").code == 0
    return folder


def changed(source: Path, target: Path, value: float) -> None:
    """The same file with other numbers in one weight, this value among them."""
    state = load_file(source)
    name = next(name for name, tensor in state.items() if tensor.ndim == 2)
    state[name] = state[name] * 1.5 + 0.01
    state[name][0, 0] = value
    save_file(state, target)


def closed(held: Any) -> Any:
    """A schema in which an object has nothing but what is described."""
    if isinstance(held, list):
        return [closed(each) for each in held]
    if not isinstance(held, dict):
        return held
    made = {key: closed(value) for key, value in held.items()}
    if isinstance(made.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    return made


def schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each schema of the package, by the name of its file."""
    for file in (files("statedict") / "schemas").iterdir():
        yield file.name, json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES)
def test_a_document_follows_its_schema(case: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    ran = run(*CASES[case])
    assert (ran.err, ran.code in (0, 1)) == ("", True)
    document = json.loads(ran.out)
    kind = case.partition(" ")[0].rstrip(",")
    assert next(iter(document)) == "schema"
    assert document["schema"] == schema(kind)
    Draft202012Validator(closed(dict(schemas())[f"{kind}-{SCHEMAS[kind]}.json"])).validate(document)


def test_a_document_that_says_less_or_something_else_is_told() -> None:
    """The schemas are no formality: a field that is gone, of another type, or not described, does not pass."""
    held = {"schema": schema("ls"), "file": "a", "format": "torch", "size": 3, "tensors": []}
    validator = Draft202012Validator(closed(dict(schemas())["ls-1.json"]))
    validator.validate(held)
    for wrong in ({"size": "3"}, {"schema": "urn:statedict:ls:2"}, {"tensors": [{}]}, {"more": 1}):
        assert not validator.is_valid(held | wrong), wrong
    assert not validator.is_valid({key: value for key, value in held.items() if key != "size"})


def test_every_kind_has_its_schema_and_every_schema_is_of_a_kind() -> None:
    kept = dict(schemas())
    assert {f"{kind}-{version}.json" for kind, version in SCHEMAS.items()} <= set(kept)
    for name, held in kept.items():
        Draft202012Validator.check_schema(held)
        kind, _, version = name.removesuffix(".json").rpartition("-")
        assert held["$id"] == f"urn:statedict:{kind}:{version}"
        assert held["properties"]["schema"] == {"const": held["$id"]}
        assert kind in SCHEMAS


def printing(group: click.Group, context: click.Context, prefix: str = "") -> Iterator[str]:
    """Yield the names of all commands with `--json`, those of groups of theirs too."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from printing(command, context, f"{prefix}{name} ")
        elif command is not None and any(parameter.name == "as_json" for parameter in command.params):
            yield f"{prefix}{name}"


def test_every_kind_and_every_command_that_prints_one_is_tried() -> None:
    assert {case.partition(" ")[0].rstrip(",") for case in CASES} == set(SCHEMAS)
    context = click.Context(commands, **commands.context_settings)
    tried = {" ".join(arguments) for arguments in CASES.values()}
    assert [
        name for name in printing(commands, context) if not any(f"{each} ".startswith(f"{name} ") for each in tried)
    ] == []
