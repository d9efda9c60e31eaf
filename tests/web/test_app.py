"""How the server answers what goes wrong."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from statedict.errors import PatternError
from statedict.web import app


def raising(error: Exception) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (PatternError("no such thing"), 400, "no such thing"),
        (OSError("gone"), 400, "gone"),
        (ValueError(), 400, "ValueError"),
        (KeyError("x"), 500, "this is a bug in statedict: KeyError: 'x'"),
    ],
)
def test_an_error_is_told_in_words(error: Exception, status: int, text: str) -> None:
    response = anyio.run(app._answered, raising(error))
    assert (response.status_code, json.loads(bytes(response.body))) == (status, {"error": text})


def test_what_is_no_json_is_no_answer() -> None:
    response = anyio.run(app._answered, lambda: float("nan"))
    assert response.status_code == 400
