"""The caps: frozen values that no real checkpoint reaches."""

import dataclasses

import pytest

from statedict.limits import DEFAULT_LIMITS, Limits


def test_they_are_a_value() -> None:
    assert Limits() == DEFAULT_LIMITS
    assert hash(Limits(names=3)) == hash(Limits(names=3))
    assert Limits(names=3) != DEFAULT_LIMITS
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT_LIMITS.names = 5  # type: ignore[misc]


def test_the_largest_models_that_exist_fit() -> None:
    assert DEFAULT_LIMITS.names >= 10 * 720_000, "DeepSeek-V3 has some 90,000 tensors, with optimizer states 720,000"
    assert DEFAULT_LIMITS.header_bytes >= 100 * 2**20, "the safetensors format's own limit"
    assert DEFAULT_LIMITS.depth >= 100
