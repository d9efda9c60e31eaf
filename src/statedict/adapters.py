"""`save_adapter`: a LoRA adapter as the folder that PEFT loads."""

import json
import os
from typing import TYPE_CHECKING

from statedict import writing
from statedict.errors import StatedictError
from statedict.formats import safetensors
from statedict.narrow import is_dict
from statedict.plan import Plan
from statedict.remote.places import place_of
from statedict.saving import Saved
from statedict.tree.flat import flatten

if TYPE_CHECKING:
    from statedict.tree.module import Module


def save_adapter(
    adapter: "Module",
    path: str | os.PathLike[str],
    *,
    verify: bool = False,
    progress: "writing.Progress | None" = None,
) -> Saved:
    """Write an adapter as a folder of `adapter_model.safetensors` and `adapter_config.json`, which PEFT loads.

    `adapter` is what `extract_lora` returns, or an opened adapter's folder. Raises StatedictError where it holds no
    `peft_config`, and WriteError (an OSError) where writing fails.
    """
    config = adapter.attributes.get("peft_config")
    if not is_dict(config):
        raise StatedictError("the tree has no `peft_config`, as that of an adapter has; `save` writes other models")
    described = json.dumps(config, indent=2, sort_keys=True) + "\n"
    plan = safetensors.write(flatten(adapter, state=True))
    plans = {"adapter_model.safetensors": plan, "adapter_config.json": Plan((described.encode(),))}
    writing.write_folder(plans, place_of(path), verify=verify, progress=progress)
    size = sum(each.size for each in plans.values())
    return Saved(place_of(path), "safetensors", tuple(plans), size, plan.notes)
