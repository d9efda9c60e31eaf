"""Python's cycle collector, kept out of the way while a large tree is made."""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def paused() -> Generator[None, None, None]:
    """The cycle collector switched off while many objects are made that all stay: it would only walk them repeatedly.

    Halves the time to open 60,000 tensors. What was made counts as old afterwards, so that it is not walked three times
    on its way there.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if gc.get_freeze_count() == 0:  # else the program has frozen objects of its own, which must stay so
                gc.freeze()
                gc.unfreeze()
            gc.enable()


@contextmanager
def from_here() -> Generator[None, None, None]:
    """The cycle collector switched off; where it is called nevertheless, it walks only what was made meanwhile."""
    with paused():
        own = gc.get_freeze_count() == 0
        if own:
            gc.freeze()
        try:
            yield
        finally:
            if own:
                gc.unfreeze()
