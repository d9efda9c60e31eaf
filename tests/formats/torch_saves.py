"""The two formats that `torch.save` writes, for tests of what both can hold."""

from collections.abc import Callable

import pytest

from tests.formats.stored import (
    saved,
    saved_in_stream,
)

Save = Callable[..., bytes]


both = pytest.mark.parametrize("save", [saved, saved_in_stream], ids=["zip", "stream"])
