"""Who the server answers: asked by hand, as other programs and other pages' scripts would."""

import http.client
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

import statedict as sd
from tests.browser import explorer


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    folder = tmp_path_factory.mktemp("served")
    sd.save(sd.open({"w": np.arange(6.0).reshape(2, 3)}), folder / "small.safetensors")
    with explorer("small.safetensors", folder=folder) as address:
        yield address


def asked(
    address: str, path: str = "", method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """What is answered to one request, whose headers are given with _ for -."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=20)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method, path or parts.path, skip_host="host" in given)
    for name, value in given.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("content-length", str(len(body)))
    with closing(connection):
        connection.endheaders(None if body is None else body.encode())
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_who_has_the_address_gets_the_page(address: str) -> None:
    status, headers, body = asked(address)
    assert status == 200
    assert b"<title>statedict</title>" in body
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers


def test_without_the_token_there_is_nothing(address: str) -> None:
    token = urlsplit(address).path
    for path in ("/", "/api/model", "/style.css", f"{token[:-2]}/", token[:-2] + "x/", token.upper(), f"//{token}"):
        status, headers, body = asked(address, path)
        assert (status, body) == (404, b""), path
        assert "content-security-policy" in headers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost", "[::1]:80", ""])
def test_another_host_is_refused(address: str, host: str) -> None:
    """A page that points its own name to 127.0.0.1 still says that name."""
    assert asked(address, host=host)[0] == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
def test_another_origin_is_refused(address: str, origin: str) -> None:
    assert asked(address, origin=origin)[0] == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_requests_of_other_sites_are_refused(address: str, site: str) -> None:
    assert asked(address, sec_fetch_site=site)[0] == 403


def test_our_own_page_and_a_person_are_answered(address: str) -> None:
    parts = urlsplit(address)
    assert asked(address, origin=f"http://{parts.netloc}", sec_fetch_site="same-origin")[0] == 200
    assert asked(address, sec_fetch_site="none")[0] == 200
    assert asked(address, host=f"localhost:{parts.port}")[0] == 200


def test_what_changes_something_needs_an_origin(address: str) -> None:
    parts = urlsplit(address)
    path = f"{parts.path}api/begin?name=figures0"
    assert asked(address, path, "POST", "")[0] == 403
    assert asked(address, path, "POST", "", origin=f"http://{parts.netloc}")[0] == 200
    assert asked(address, path)[0] == 405
    assert asked(address, method="PUT")[0] == 405
    assert asked(address, method="OPTIONS", origin=f"http://{parts.netloc}")[0] == 405


@pytest.mark.parametrize("name", ["..%2f..%2fapp.py", "%2e%2e/app.py", "../app.py", "nothing.js", ".", "%00"])
def test_only_the_pages_own_files_are_served(address: str, name: str) -> None:
    assert asked(address, urlsplit(address).path + name)[0] == 404


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("api/facts?side=0&at=99", "there is no number 99"),
        ("api/facts?side=0&at=x", "expected a whole number"),
        ("api/facts?side=7&at=0", "there is no side 7"),
        ("api/statistics?side=0&at=0", "is a module, and no tensor"),
        ("api/row?side=0&at=1&index=9", "index 9 is out of bounds"),
        ("api/job?name=diff", "there is no job `diff`"),
        ("api/tile?side=0&at=1&rows=0&columns=0&top=0&left=0&bottom=1&right=1&height=1&width=1", "are not the axes"),
        ("api/tile?side=difference&at=1", "there is only one checkpoint"),
        ("api/tile?side=0&at=1&rows=a", "expected the numbers of axes"),
        ("api/filters?side=0&at=1", "a kernel of filters has four dimensions"),
    ],
)
def test_wrong_questions_are_answered_in_words(address: str, path: str, text: str) -> None:
    status, _, body = asked(address, urlsplit(address).path + path)
    assert status == 400
    assert text in body.decode()


def test_it_listens_on_this_machine_alone(address: str) -> None:
    port = urlsplit(address).port
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    ]
    assert [each for each in listening if int(each.split(":")[1], 16) == port] == [f"0100007F:{port:04X}"]
