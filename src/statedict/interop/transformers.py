"""What a `config.json` says of a model, by the classes of `transformers`: a program for a process of its own.

    python -m statedict.interop.transformers < question.json > answer.json

It builds the model on the meta device, where tensors have no values. What the configuration asks for may be hostile, so
nothing is downloaded, no code but that of `transformers` runs, and the process may be stopped at any time.
"""
# `transformers` does not say what it exports, and types less of it.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import io
import json
import re
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from statedict.interop.placing import Placing
from statedict.narrow import is_dict, is_list

_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LEFT_OUT = frozenset(
    {
        *("auto_map", "custom_pipelines", "trust_remote_code", "_name_or_path", "name_or_path"),
        *("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation"),
        *("_experts_implementation", "use_kernels", "quantization_config", "dtype", "torch_dtype", "backbone"),
        *("use_pretrained_backbone", "transformers_weights", "architectures"),
    }
)
"""Fields that name code or weights elsewhere, or say how values are stored and computed: not what the modules are."""
_EVENTS = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty.")
_MOST_BYTES = 8 << 30
_MOST_SAID = 300


class Refused(Exception):  # noqa: N818 - it is not always an error
    """The configuration is not one that a model can be built from."""


class TooMuch(Refused):
    """It asks for more than a model of the folder's tensors could have."""


def main() -> None:
    """Answer the question on standard input: `{"modules": …}` or `{"error": …, "limit": …}`."""
    with redirect_stdout(io.StringIO()):
        try:
            question = json.load(sys.stdin)
            kind = model_class(question["config"].get("architectures"))
            _shut()
            answer = described(kind, **question)
        except Refused as error:
            answer = {"error": str(error), "limit": isinstance(error, TooMuch)}
        except MemoryError:
            answer = {"error": "asks for a model that does not fit into memory", "limit": True}
        except RecursionError:
            answer = {"error": "is nested too deep", "limit": True}
    json.dump(answer, sys.stdout)


def described(
    kind: type[nn.Module], config: Mapping[str, Any], tensors: Mapping[str, list[int] | None] | None, most: int
) -> dict[str, Any]:
    """What the model of that class and configuration says of the modules of a file with those tensors.

    Without tensors, of those that the model would have itself, which are its `state`. Raises Refused where it cannot be
    built, or has more than `most` modules.
    """
    try:
        model = _built(kind, config, most)
    except (Refused, MemoryError, RecursionError):
        raise
    except Exception as error:  # noqa: BLE001 - each of hundreds of models has its own errors for wrong fields
        said = " ".join(str(error).split())[:_MOST_SAID]
        raise Refused(f"does not fit `{kind.__name__}`: {type(error).__name__}: {said}") from None
    if tensors is None:
        state = _state(model)
        own = {name: tuple(facts["shape"]) for name, facts in state.items()}
        return {"state": state, **Placing(model, own, {name: name for name in own}).described()}
    shapes = {name: None if shape is None else tuple(shape) for name, shape in tensors.items()}
    return Placing(model, shapes, _names(model, list(shapes))).described()


def _state(model: nn.Module) -> dict[str, dict[str, Any]]:
    """What the model would save: element type and shape by name, and the name that has the same tensor before it."""
    found: dict[str, dict[str, Any]] = {}
    first: dict[int, str] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, torch.Tensor):
            dtype = str(value.dtype).removeprefix("torch.")
            found[name] = {"dtype": dtype, "shape": list(value.shape), "as": first.setdefault(id(value), name)}
    return found


def model_class(architectures: object) -> type[nn.Module]:
    """The first of the named classes that is a model of `transformers` itself. Raises Refused where none is."""
    import transformers
    from transformers import PreTrainedModel

    names = cast("list[object]", architectures) if isinstance(architectures, list) else []
    for name in names:
        if isinstance(name, str) and _CLASS.fullmatch(name) and not name.startswith(("TF", "Flax")):
            found: Any = getattr(transformers, name, None)
            if isinstance(found, type) and issubclass(found, PreTrainedModel) and found.config_class is not None:
                return found
    raise Refused(
        f"names as its `architectures` {json.dumps(names)[:200]}, of which transformers {transformers.__version__} "
        "has none; its own code is not run"
    )


def _built(kind: Any, config: Mapping[str, Any], most: int) -> nn.Module:
    """The model on the meta device. Raises what its class raises, too."""
    made = kind.config_class.from_dict(_harmless(config))
    with torch.device("meta"), _counted(most):
        return kind(made)


def _harmless(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, nested ones too, but for those that lead elsewhere."""
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in _LEFT_OUT:
            kept[name] = _harmless_value(value)
        elif name == "use_pretrained_backbone":
            kept[name] = False
    return kept


def _harmless_value(value: Any) -> Any:
    if is_dict(value):  # JSON has no infinities: `transformers` writes one as a dict
        return float(str(value["__float__"])) if "__float__" in value else _harmless(value)
    return [_harmless_value(each) for each in value] if is_list(value) else value


@contextmanager
def _counted(most: int) -> Generator[None]:
    """In which no more than `most` modules are made."""
    count = 0

    def more(*_: object) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise TooMuch(f"asks for more than {most:,} modules")

    hook = register_module_module_registration_hook(more)
    try:
        yield
    finally:
        hook.remove()


def _shut() -> None:
    """Close the doors: from here on this process opens no connection, starts no program, and grows no further."""

    def refuse(event: str, _: object) -> None:
        if event.startswith(_EVENTS):
            raise Refused(f"leads to what is not in it ({event})")

    sys.addaudithook(refuse)
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY or most > _MOST_BYTES:
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, most))


def _names(model: Any, names: list[str]) -> dict[str, str]:
    """The name in the model of each tensor of the file: the same, with a prefix more or less, or for an older name."""
    state = model.state_dict(keep_vars=True)
    prefix = f"{model.base_model_prefix}."
    found: dict[str, str] = {}
    for name, newer in zip(names, _newer(model, names), strict=True):
        for candidate in (name, prefix + name, name.removeprefix(prefix), newer, prefix + newer):
            if candidate in state:
                found[name] = candidate
                break
    return found


def _newer(model: Any, names: list[str]) -> list[str]:
    """The names that this version of `transformers` has for those that files have; the same where it does not tell."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightRenaming, rename_source_key
    except ImportError:  # before version 5
        return names
    told: list[Any] = get_model_conversion_mapping(model)
    renamings = [each for each in told if isinstance(each, WeightRenaming)]
    return [rename_source_key(name, renamings, [])[0] for name in names]


if __name__ == "__main__":
    main()
