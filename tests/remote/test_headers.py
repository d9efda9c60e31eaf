"""Headers that are kept on this machine: what is asked for again, what is believed, and what stands on the disk."""

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import statedict as sd
from statedict.remote import headers as headers_module
from statedict.remote.files import opened
from statedict.remote.headers import Headers, headers
from statedict.remote.pages import AHEAD
from statedict.remote.stores import Found, Version
from tests.remote.servers import WebServer, web_server
from tests.remote.sparse import sparse_model

URL = "https://example.org/net.safetensors"
VERSION = Version(1000, '"tag"')


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of headers, empty."""
    monkeypatch.setenv("STATEDICT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "headers"


@pytest.fixture
def web(tmp_path: Path) -> Generator[WebServer]:
    (tmp_path / "served").mkdir()
    with web_server(tmp_path / "served") as server:
        yield server


def weights(path: Path, tensors: int = 3, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    save_file({f"layers.{at}.weight": rng.standard_normal(300, dtype="f4") for at in range(tensors)}, path)


def asked(web: WebServer, path: str) -> tuple[list[int], list[str]]:
    """The bytes that opening asks for, request by request, and the names that are found."""
    web.forget()
    names = [name for name, _ in sd.open(f"{web.url}/{path}").named_parameters()]
    return [size for _, _, size in web.requests], names


@pytest.mark.parametrize("tensors", [3, 2000], ids=["a short header", "a long one"])
def test_opened_again_a_file_costs_one_byte(web: WebServer, kept: Path, tensors: int) -> None:
    weights(web.folder / "net.safetensors", tensors)

    sizes, names = asked(web, "net.safetensors")

    assert sum(sizes) > 3000
    assert asked(web, "net.safetensors") == ([1], names)
    assert len(names) == tensors


def test_a_torch_file_and_a_folder_of_shards_too(web: WebServer, kept: Path) -> None:
    torch.save({f"layers.{at}.weight": torch.randn(300, 100) for at in range(40)}, web.folder / "net.pt")
    sparse_model(web.folder / "huge", 16, 504, 1 << 23)
    for path, files in (("net.pt", 1), ("huge/", 16)):
        _, names = asked(web, path)
        assert asked(web, path) == ([1] * files, names)


def test_values_are_those_of_the_server(web: WebServer, kept: Path) -> None:
    weights(web.folder / "net.safetensors")
    local = sd.stats(sd.open(web.folder / "net.safetensors")).total

    assert [sd.stats(sd.open(f"{web.url}/net.safetensors")).total for _ in range(2)] == [local] * 2


@pytest.mark.parametrize("tags", [True, False], ids=["told by a tag", "told by a time"])
def test_a_changed_file_is_read_anew(web: WebServer, kept: Path, tags: bool) -> None:
    web.tags = tags
    path = web.folder / "net.safetensors"
    weights(path, 3)
    os.utime(path, (1e9, 1e9))
    asked(web, "net.safetensors")
    weights(path, 4)
    os.utime(path, (1e9 + 1, 1e9 + 1))

    sizes, names = asked(web, "net.safetensors")

    assert (sizes[0], len(sizes), len(names)) == (1, 2, 4)
    assert asked(web, "net.safetensors") == ([1], names)


def test_a_time_that_is_too_fresh_to_tell_versions_is_not_believed(web: WebServer, kept: Path) -> None:
    web.tags = False
    weights(web.folder / "net.safetensors")

    first, _ = asked(web, "net.safetensors")

    assert asked(web, "net.safetensors")[0] == first
    assert not kept.exists()


@pytest.mark.parametrize("tag", ["", 'W/"weak"', None], ids=["none", "weak", "just now"])
def test_what_does_not_tell_a_version_keeps_nothing(tmp_path: Path, tag: str | None) -> None:
    made, tag = Headers(tmp_path), formatdate(usegmt=True) if tag is None else tag
    made.keep_found(URL, Found(Version(1000, tag), b"head"))
    made.keep_page(URL, Version(1000, tag), 0, b"page")

    assert list(tmp_path.iterdir()) == []


class Hub:
    """A store whose version is a commit, as that of `hf://` is."""

    def __init__(self) -> None:
        self.commit, self.asked = "a" * 40, list[int]()

    def open(self, url: str, ahead: int) -> Found:
        self.asked.append(ahead)
        return Found(Version(5000, self.commit), self.commit.encode()[:ahead])


def test_a_commit_tells_a_version(kept: Path) -> None:
    hub: Any = Hub()
    url = "hf://org/model/net.safetensors"

    assert {opened(url, hub).read_at(0, 4) for _ in range(3)} == {b"aaaa"}
    assert hub.asked == [AHEAD, 1, 1]
    hub.commit = "b" * 40
    assert {opened(url, hub).read_at(0, 4) for _ in range(2)} == {b"bbbb"}
    assert hub.asked[3:] == [1, AHEAD, 1]


def test_stores_that_are_not_far_away_keep_nothing(kept: Path) -> None:
    hub: Any = Hub()
    for _ in range(2):
        opened("memory://models/net.safetensors", hub)

    assert hub.asked == [AHEAD, AHEAD]
    assert not kept.exists()


def test_a_file_that_is_gone_is_told(web: WebServer, kept: Path) -> None:
    weights(web.folder / "net.safetensors")
    asked(web, "net.safetensors")
    (web.folder / "net.safetensors").unlink()

    with pytest.raises(sd.ReadError, match="there is no such file"):
        asked(web, "net.safetensors")


def test_who_may_not_read_the_file_does_not_get_its_header(web: WebServer, kept: Path) -> None:
    weights(web.folder / "net.safetensors")
    asked(web, "net.safetensors")
    web.password = "Basic YW5uYTpodW50ZXIy"

    with pytest.raises(sd.ReadError, match="refuses it"):
        asked(web, "net.safetensors")


def test_no_secret_stands_on_the_disk(web: WebServer, kept: Path) -> None:
    weights(web.folder / "net.safetensors")
    host = web.url.removeprefix("http://")
    secrets = ("anna", "hunter2secret", "0123456789abcdef", "tok3n", host, "net.safetensors")
    url = f"http://anna:hunter2secret@{host}/net.safetensors?X-Amz-Signature=0123456789abcdef&token=tok3n"

    sd.open(url)

    files = list(kept.iterdir())
    assert files
    for path in files:
        text = path.name.encode() + path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in text]
        assert not [
            secret
            for secret in secrets
            if hashlib.sha256(secret.encode()).digest() in text
            or hashlib.sha256(secret.encode()).hexdigest() in str(path)
        ]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "exchanged", "a folder"])
def test_what_is_damaged_is_fetched_anew(web: WebServer, kept: Path, damage: str) -> None:
    weights(web.folder / "net.safetensors", 2000)
    first, names = asked(web, "net.safetensors")
    files = sorted(kept.iterdir())
    assert len(files) == 2
    contents = [path.read_bytes() for path in files]
    for path, data, other in zip(files, contents, contents[::-1], strict=True):
        path.unlink()
        if damage == "a folder":
            path.mkdir()
        else:
            made = {"cut": data[:-1], "emptied": b"", "flipped": data[:-1] + bytes([data[-1] ^ 1]), "exchanged": other}
            path.write_bytes(made[damage])

    assert asked(web, "net.safetensors") == (first, names)
    assert asked(web, "net.safetensors") == (([1], names) if damage != "a folder" else (first, names))


def test_a_folder_that_cannot_be_written_is_no_error(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights(web.folder / "net.safetensors")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("STATEDICT_CACHE", str(tmp_path / "file"))

    assert len({tuple(asked(web, "net.safetensors")[1]) for _ in range(2)}) == 1


@pytest.mark.parametrize("given", ["", "0"])
def test_it_is_turned_off(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("STATEDICT_CACHE", given)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    weights(web.folder / "net.safetensors")

    assert asked(web, "net.safetensors") == asked(web, "net.safetensors")
    assert not (tmp_path / "caches").exists()


def test_it_lies_among_the_users_caches(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATEDICT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    weights(web.folder / "net.safetensors")
    asked(web, "net.safetensors")

    assert asked(web, "net.safetensors")[0] == [1]
    assert list((tmp_path / "caches" / "statedict" / "headers").iterdir())


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATEDICT_CACHE", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    headers_module._headers.cache_clear()
    headers().keep_found(URL, Found(VERSION, b"head"))
    headers_module._headers.cache_clear()

    assert list(tmp_path.iterdir()) == []


def test_tensors_are_not_kept(web: WebServer, kept: Path) -> None:
    save_file({"w": np.ones(1 << 20, "f4")}, web.folder / "net.safetensors")
    model = sd.open(f"{web.url}/net.safetensors")
    sd.stats(model)
    model.get_parameter("w").numpy()

    assert sum(path.stat().st_size for path in kept.iterdir()) < 33_000


def test_there_are_never_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers_module, "_MOST", 100_000)
    monkeypatch.setattr(headers_module, "_LEFT", 75_000)
    made = Headers(tmp_path)
    for at in range(300):
        made.keep_page(URL, VERSION, at, bytes(1000))
        for path in tmp_path.iterdir():  # as if each were a second older than the next
            os.utime(path, (path.stat().st_mtime - 1, path.stat().st_mtime - 1))
        assert made.page(URL, VERSION, 0, 1000) is not None, "what is used stays"
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 110_000

    assert made.page(URL, VERSION, 299, 1299) is not None
    assert made.page(URL, VERSION, 1, 1001) is None


def test_many_may_write_at_once(tmp_path: Path) -> None:
    """Whoever reads meanwhile finds all of a header or none."""
    pages = {at: bytes([at]) * 50_000 for at in range(8)}
    program = (
        "import sys; from pathlib import Path; from statedict.remote.headers import Headers; "
        "from statedict.remote.stores import Version\n"
        "for _ in range(100):\n"
        "    for at in range(8): Headers(Path(sys.argv[1])).keep_page"
        f"({URL!r}, Version(1000, {VERSION.tag!r}), at, bytes([at]) * 50_000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) for _ in range(2)]
    read = 0

    def reads(at: int) -> None:
        nonlocal read
        found = Headers(tmp_path).page(URL, VERSION, at, at + 50_000)
        assert found in (None, pages[at])
        read += found is not None

    with ThreadPoolExecutor(4) as pool:
        while any(writer.poll() is None for writer in writers):
            list(pool.map(reads, pages))

    assert [writer.returncode for writer in writers] == [0, 0]
    assert read
    assert len(list(tmp_path.iterdir())) == 8, "nothing temporary is left"
