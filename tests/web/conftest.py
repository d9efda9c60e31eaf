"""The browser that the tests of a page share."""

from collections.abc import Generator
from typing import Any

import pytest

from tests.browser import browser


@pytest.fixture(scope="module")
def chromium() -> Generator[Any]:
    with browser() as held:
        yield held
