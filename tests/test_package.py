"""`import statedict`: what it names, and what it costs."""

import importlib
import subprocess
import sys

import pytest

import statedict


def test_every_name_is_had_and_is_what_its_module_has() -> None:
    for name in statedict.__all__:
        value = getattr(statedict, name)
        home = getattr(value, "__module__", None)
        if home is not None and home.startswith("statedict"):
            assert getattr(importlib.import_module(home), name) is value


def test_a_star_import_brings_all_names() -> None:
    names: dict[str, object] = {}
    exec("from statedict import *", names)

    assert set(statedict.__all__) <= set(names)
    assert set(statedict.__all__) <= set(dir(statedict))


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module `statedict` has no attribute `nonsense`"):
        _ = statedict.nonsense  # pyright: ignore[reportAttributeAccessIssue]


def test_the_names_load_no_numpy() -> None:
    code = (
        "import sys; from statedict import *; "
        "print(*({'numpy', 'ml_dtypes', 'click', 'rich', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
