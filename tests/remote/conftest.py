"""What tests of remote files share: no header is kept from one to the other."""

import pytest


@pytest.fixture(autouse=True)
def without_kept_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATEDICT_CACHE", "0")
