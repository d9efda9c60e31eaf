"""Tiny models as `transformers` saves them, and the kinds that their `config.json` tells."""

import json
from pathlib import Path
from typing import Any

import statedict as sd
from statedict.interop import transformers as program
from tests import architectures


def in_process(question: dict[str, Any], where: str) -> dict[str, Any]:
    """What the program would answer, without the seconds that it takes to start."""
    asked = json.loads(json.dumps(question))
    kind = program.model_class(asked["config"]["architectures"])
    return json.loads(json.dumps(program.described(kind, **asked)))


def saved(name: str, folder: Path, **changed: Any) -> Any:
    """The live model of that architecture, after it was saved."""
    live: Any = architectures.make(name)
    live.save_pretrained(folder, max_shard_size="50KB")
    change(folder, **changed)
    return live


def change(folder: Path, **fields: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def kinds(model: Any) -> dict[str, str | None]:
    found = model.named_modules(remove_duplicate=False)
    return {name: each.kind if isinstance(each, sd.Module) else type(each).__name__ for name, each in found}
