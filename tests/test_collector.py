"""The cycle collector out of the way, and as it was afterwards."""

import gc

import pytest

from statedict import collector


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_afterwards_as_it_was(on: bool) -> None:
    if not on:
        gc.disable()
    try:
        for block in (collector.paused, collector.from_here):
            with block():
                assert not gc.isenabled()
            assert gc.isenabled() == on
            assert gc.get_freeze_count() == 0
    finally:
        gc.enable()


def test_only_what_is_made_meanwhile_is_walked() -> None:
    before: list[object] = []
    with collector.from_here():
        meanwhile: list[object] = []
        walked = {id(each) for each in gc.get_objects()}
        assert id(meanwhile) in walked
        assert id(before) not in walked


def test_what_the_program_has_frozen_stays_so() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        for block in (collector.paused, collector.from_here):
            with block():
                pass
        assert gc.get_freeze_count() >= frozen - 10  # but for what is gone by itself
    finally:
        gc.unfreeze()
