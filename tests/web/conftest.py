"""The browser that the tests of a page share, and which makes them slow."""

from collections.abc import Generator
from typing import Any

import pytest

from tests.browser import browser


@pytest.fixture(scope="module")
def chromium() -> Generator[Any]:
    with browser() as held:
        yield held


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
