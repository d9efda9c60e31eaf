"""Shards of one checkpoint: whether all are there, and no others."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from statedict.errors import StatedictError
from statedict.index import shown
from statedict.limits import Limits
from statedict.narrow import is_dict
from statedict.ops.check.finding import Finding
from statedict.ops.check.integrity.checksums import NAME
from statedict.source import FileSource, Folder

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
_LACKS = "fetch the files that are missing"
_OTHER = "remove it, or see whether it is of another save: no loader reads it"
_MOST = 10


def set_findings(folder: Folder, limits: Limits) -> Iterator[Finding]:
    """What is missing of a folder's sets of shards, and which shards no index lists."""
    shards = {name: found for name in folder.names if (found := _SHARD.fullmatch(name))}
    sets: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for found in shards.values():
        sets[found["stem"] + found["suffix"], found["count"]].add(int(found["number"]))
    for (stem, count), numbers in sets.items():
        first = 0 if 0 in numbers else 1
        missing = sorted(set(range(first, first + int(count))) - numbers) if int(count) <= limits.members else []
        if missing:
            listed = ", ".join(map(str, missing[:_MOST])) + ", …" * (len(missing) > _MOST)
            what = f"has {len(numbers):,} of {int(count):,} shards of `{shown(stem)}`; missing: {listed}"
            yield Finding(NAME, folder.name, "error", what, _LACKS, {"kind": "shards", "missing": missing[:_MOST]})
    for name in folder.names:
        if name.endswith(".index.json"):
            yield from _listed(folder, name, set(shards), limits)


def _listed(folder: Folder, name: str, shards: set[str], limits: Limits) -> Iterator[Finding]:
    """What one index says that is not so."""
    where = f"{folder.name}/{name}"
    try:
        source = FileSource(Path(folder.path) / name)
        held: Any = json.loads(source.read_at(0, min(source.size, limits.header_bytes)))
    except (StatedictError, ValueError, RecursionError):
        return  # whoever opens it says so
    weights = held.get("weight_map") if is_dict(held) else None
    if not is_dict(weights):
        return
    files = {file for file in weights.values() if isinstance(file, str)}
    for file in sorted(files - set(folder.names))[:_MOST]:
        what = f"lists `{shown(file)}`, which is not there"
        yield Finding(NAME, where, "error", what, _LACKS, {"kind": "shards"})
    suffix = next(iter(files), "").rpartition(".")[2]
    for file in sorted(each for each in shards - files if each.endswith(f".{suffix}"))[:_MOST]:
        yield Finding(NAME, where, "warning", f"does not list `{shown(file)}`", _OTHER, {"kind": "shards"})
