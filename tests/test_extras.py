"""Libraries that only some uses need."""

import json
import tomllib
from pathlib import Path

import pytest

from statedict.errors import MissingExtraError
from statedict.extras import needed

ROOT = Path(__file__).parent.parent


def test_a_library_that_is_there_is_imported() -> None:
    assert needed("json", "none", "this") is json


def test_the_error_says_what_for_and_how_to_install_it() -> None:
    with pytest.raises(MissingExtraError) as caught:
        needed("no_such_library", "hdf5", "`net.h5`: has values in chunks, which h5py reads")
    expected = "`net.h5`: has values in chunks, which h5py reads; install it with `pip install 'statedict[hdf5]'`"
    assert str(caught.value) == expected


def test_every_extra_that_an_error_names_exists() -> None:
    """And none is left out of `all` but those for developers."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        text.partition("]")[0]
        for path in (ROOT / "src").rglob("*.py")
        for text in path.read_text().split("statedict[")[1:]
        if text[0].islower()
    }
    assert named <= set(extras)
    everything = extras["all"][0].removeprefix("statedict[").removesuffix("]").split(",")
    assert set(everything) == set(extras) - {"all", "dev", "docs", "fuzz"}
