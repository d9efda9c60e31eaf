"""Libraries that only some uses need: imported on use, and where one is missing, the error holds the command."""

import importlib
from typing import Any

from statedict.errors import MissingExtraError


def needed(library: str, extra: str, purpose: str) -> Any:
    """The library, imported. Raises MissingExtraError, which begins with the purpose and names the extra of ours.

    The purpose says what wants the library: "`net.h5`: has values in chunks, which h5py reads".
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise MissingExtraError(f"{purpose}; install it with `pip install 'statedict[{extra}]'`") from error
