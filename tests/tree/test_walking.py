"""What takes a tree says so when it is given a path or a live model, which only `open` takes."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

import statedict as sd
from statedict.tree.walking import require_tree

OPERATIONS: dict[str, Callable[[Any], object]] = {
    "select": lambda model: list(sd.select(model, "**")),
    "stats": sd.stats,
    "memory": sd.memory,
    "fingerprint": sd.fingerprint,
    "optimizer_parameters": sd.optimizer_parameters,
    "rename": lambda model: sd.rename(model, "a=b"),
    "drop": lambda model: sd.drop(model, "a"),
    "keep": lambda model: sd.keep(model, "a"),
    "cast": lambda model: sd.cast(model, "bf16"),
    "graft": lambda model: sd.graft(model, sd.Module()),
    "strip_prefixes": sd.strip_prefixes,
    "merge": lambda model: sd.merge([model, model]),
    "masks": sd.masks,
    "prune": lambda model: sd.prune(model, "**", amount=0.5),
    "shrink": lambda model: sd.shrink(model, 0.5),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_path_or_a_live_model_is_told_to_be_opened_first(name: str) -> None:
    for given, kind in (("net.pt", "str"), (nn.Linear(3, 2), "torch.nn.modules.linear.Linear"), (None, "NoneType")):
        said = f"expected a tree, as `statedict.open` returns it, but got `{kind}`; open it first"
        with pytest.raises(TypeError, match=re.escape(said)):
            OPERATIONS[name](given)


def test_trees_pass() -> None:
    for tree in (sd.Module(), sd.open(nn.Linear(3, 2))):
        require_tree(tree)
