"""What is thought of names: known ones are what they are taken for, and known harm is told whatever it is called."""

import enum
import importlib
import inspect
import tomllib
from importlib import resources
from typing import Any

import pytest

from statedict.ops.check.code.names import verdict


def table(name: str) -> dict[str, Any]:
    return tomllib.loads((resources.files("statedict.ops.check.code") / f"{name}.toml").read_text())


@pytest.mark.parametrize(
    ("module", "name", "grade"),
    [
        ("collections", "OrderedDict", "safe"),
        ("torch._utils", "_rebuild_tensor_v2", "safe"),
        ("torch.nn.modules.conv", "Conv2d", "safe"),
        ("torch.nn.modules.conv", "torch.hub.load", "dangerous"),
        ("torch.nn.modules.module", "os", "dangerous"),
        ("__builtin__", "long", "safe"),
        ("__builtin__", "eval", "dangerous"),
        ("mypackage.nets", "Net", "unknown"),
        ("mypackage.nets", "os.system", "dangerous"),
        ("mypackage.nets", "_os.system", "dangerous"),
        ("mypackage.nets", "run_command", "dangerous"),
        ("mypackage.nets", "Net.__globals__", "dangerous"),
        ("mypackage.__builtins__", "get", "dangerous"),
        ("transformers.trainer_utils", "IntervalStrategy.STEPS", "safe"),
        ("collections", "OrderedDict.fromkeys", "unknown"),
        ("calendar", "Calendar", "unknown"),
        ("http.server", "test", "dangerous"),
        ("this", "s", "dangerous"),
        ("commands", "getoutput", "dangerous"),
        ("copy_reg", "_reconstructor", "safe"),
        ("__torch__.torch.nn.modules.conv.___torch_mangle_3", "Conv2d", "safe"),
        ("__torch__", "os.system", "dangerous"),
        ("", "", "unknown"),
        ("os", "", "dangerous"),
        ("operator", "itemgetter", "unknown"),
        ("operator", "attrgetter", "dangerous"),
        ("logging", "getLogger", "safe"),
        ("logging", "FileHandler", "dangerous"),
        ("io", "BytesIO", "safe"),
        ("io", "open", "dangerous"),
        ("builtins", "iter", "unknown"),
        ("torch._dynamo.eval_frame", "OptimizedModule", "unknown"),
        ("torch._dynamo.eval_frame", "OptimizedModule.os", "dangerous"),
        ("ray.rllib.policy", "Policy", "unknown"),
    ],
)
def test_verdicts(module: str, name: str, grade: str) -> None:
    assert verdict(module, name).grade == grade


def known() -> list[tuple[str, str]]:
    return [(module, name) for module, names in table("known")["names"].items() for name in names]


@pytest.mark.parametrize(("module", "name"), known(), ids=lambda each: each)
def test_what_is_known_is_on_no_other_list(module: str, name: str) -> None:
    assert verdict(module, name).grade == "safe"


def test_known_classes_of_torch_are_classes_that_only_hold_what_they_are_given() -> None:
    pytest.importorskip("torch")
    from torch import nn

    odd: list[str] = []
    for module in table("known")["classes"]["modules"][:-1]:
        loaded = _loaded(module)
        for name, value in vars(loaded).items() if loaded else ():
            if name[:1].isupper() and not _is_harmless(value, nn.Module):
                odd.append(f"{module}.{name}")
    assert odd == []


_PLAIN = ("collections", "collections.abc", "enum", "torch", "typing", "typing_extensions")


def _loaded(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def _is_harmless(value: Any, base: type) -> bool:
    if not inspect.isclass(value):
        return not callable(value) or getattr(value, "__module__", "") in (
            "typing",
            "collections.abc",
            "typing_extensions",
        )
    return issubclass(value, base | enum.Enum) or value.__module__.partition(".")[0] in (
        "torch",
        "typing",
        "collections",
        "enum",
    )
