"""What of a Flax checkpoint is trained: its collections have names, its arrays have no roles."""

import dataclasses

from statedict.index import Index, ModuleInfo

_NOT_TRAINED = frozenset({"batch_stats", "opt_state"})
"""Running averages, and what `optax` keeps for each parameter in a `TrainState`."""


def with_roles(index: Index) -> Index:
    """The index, in which what stands in a collection that is not trained is a buffer."""
    held: dict[str, list[str]] = {}
    for name in index.tensors:
        owner, _, local = name.rpartition(".")
        if not _NOT_TRAINED.isdisjoint(owner.split(".")):
            held.setdefault(owner, []).append(local)
    if not held:
        return index
    known = index.modules
    told = {at: dataclasses.replace(known.get(at, ModuleInfo()), buffers=tuple(names)) for at, names in held.items()}
    return dataclasses.replace(index, modules={**known, **told})
