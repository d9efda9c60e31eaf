"""The explorer under load, and while its file is pulled away from under it: all answers right, and nothing piles up."""

import asyncio
import json
import os
import resource
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.browser import served

CLIENTS = 200
MIB = 1 << 20
TENSORS = 8
HELD = {f"layers.{at}.weight": np.full((1024, 1024), at + 1, "f4") for at in range(TENSORS)}
TILE = "top=0&left=0&bottom=1024&right=1024&rows=0&columns=1&height=64&width=64"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(HELD, tmp_path / "net.safetensors")
    return tmp_path


class Client:
    """One connection to the server, kept open."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._port, self._path, self._host = parts.port, parts.path, parts.netloc
        self._reader: Any = None
        self._writer: Any = None

    async def send(self, path: str) -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(f"GET {self._path}{path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        await self._writer.drain()

    async def ask(self, path: str) -> tuple[int, bytes]:
        """The status and the body of an answer."""
        await self.send(path)
        status = int((await self._reader.readline()).split()[1])
        length = 0
        while line := (await self._reader.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return status, await self._reader.readexactly(length)

    def close(self) -> None:
        """Hang up, whatever has not been sent."""
        if self._writer is not None:
            self._writer.transport.abort()


async def each_asks(address: str, clients: int, paths: Sequence[str]) -> list[list[tuple[int, bytes]]]:
    """What so many clients at once are answered, each to all paths, beginning with another one."""

    async def all_of_them(at: int) -> list[tuple[int, bytes]]:
        client = Client(address)
        turned = [*paths[at % len(paths) :], *paths[: at % len(paths)]]
        found = {path: await client.ask(path) for path in turned}
        client.close()
        return [found[path] for path in paths]

    return await asyncio.gather(*(all_of_them(at) for at in range(clients)))


def asked(address: str, *paths: str) -> list[tuple[int, bytes]]:
    """What one client is answered."""
    return asyncio.run(each_asks(address, 1, paths))[0]


def tensor_numbers(address: str) -> list[int]:
    """The numbers of the tensors, which are asked for by them."""
    numbers: list[int] = []
    for at, (status, body) in enumerate(asked(address, *(f"api/facts?at={at}" for at in range(2 * TENSORS + 2)))):
        if status == 200 and b"float32" in body:
            numbers.append(at)
    return numbers


def questions(numbers: Sequence[int]) -> list[str]:
    """Everything that a page asks about tensors."""
    kinds = ("facts?", "statistics?", "row?index=7&", f"tile?{TILE}&")
    return ["api/model", "explore.js", *(f"api/{kind}at={at}" for at in numbers for kind in kinds)]


def descriptors(process: int) -> int:
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def most_memory(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.slow
def test_two_hundred_clients_at_once_are_answered_rightly(folder: Path) -> None:
    with served("net.safetensors", folder=folder) as (address, process):
        numbers = tensor_numbers(address)
        assert len(numbers) == TENSORS
        paths = questions(numbers[:3])
        expected = asked(address, *paths)
        assert {status for status, _ in expected} <= {200, 404}
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        before, files = most_memory(process.pid), descriptors(process.pid)
        for answers in asyncio.run(each_asks(address, CLIENTS, paths)):
            assert answers == expected
        assert most_memory(process.pid) - before < 300 * MIB
        assert asked(address, "api/model")[0] == expected[0]
        assert descriptors(process.pid) <= files + 4


@pytest.mark.slow
def test_clients_that_do_not_read_or_never_finish_asking_block_nobody(folder: Path) -> None:
    async def besieged(address: str, numbers: list[int]) -> tuple[int, bytes]:
        slow = [Client(address) for _ in range(CLIENTS)]
        for at, client in enumerate(slow):
            if at % 2:
                for _ in range(50):  # far more than the kernel keeps for one who does not read
                    await client.send(f"api/tile?{TILE}&at={numbers[0]}")
            else:
                await client.send("api/model HTTP/1.1\r\nHost: ")
        quick = Client(address)
        answer = await quick.ask(f"api/facts?at={numbers[0]}")
        for client in (*slow, quick):
            client.close()
        return answer

    with served("net.safetensors", folder=folder) as (address, _):
        numbers = tensor_numbers(address)
        expected = asked(address, f"api/facts?at={numbers[0]}")
        assert [asyncio.run(besieged(address, numbers))] == expected


@pytest.mark.slow
def test_more_clients_than_descriptors_wait(folder: Path) -> None:
    few = 64
    limited = served(
        "net.safetensors", folder=folder, before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
    )

    async def crowd(address: str) -> None:
        clients = [Client(address) for _ in range(2 * few)]
        for client in clients:
            await client.send("api/model")
        await asyncio.sleep(0.5)  # so that it has met all of them
        for client in clients:
            client.close()

    with limited as (address, process):
        expected = asked(address, "api/model")
        asyncio.run(crowd(address))
        assert asked(address, "api/model") == expected
        assert descriptors(process.pid) < few


@pytest.fixture
def shown(folder: Path) -> Generator[tuple[str, Path, list[int]]]:
    with served("net.safetensors", folder=folder) as (address, _):
        yield address, folder / "net.safetensors", tensor_numbers(address)


def test_a_file_that_shrinks_is_told_on_the_page(shown: tuple[str, Path, list[int]]) -> None:
    address, path, numbers = shown
    first, last = (f"api/statistics?at={at}" for at in (numbers[0], numbers[-1]))
    expected = asked(address, first)
    os.truncate(path, path.stat().st_size // 2)
    (status, body), *others = asked(address, last, f"api/tile?{TILE}&at={numbers[-1]}", first, "api/model")
    assert status == 400
    assert "truncated" in json.loads(body)["error"]
    assert [each[0] for each in others] == [400, 200, 200]
    assert others[1:2] == expected


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_that_is_removed_or_replaced_stays_the_one_that_was_opened(
    shown: tuple[str, Path, list[int]], how: str
) -> None:
    address, path, numbers = shown
    paths = questions(numbers[-1:])
    expected = asked(address, *paths)
    if how == "removed":
        path.unlink()
    else:
        path.with_name("other").write_bytes(b"x" * 10)
        path.with_name("other").replace(path)
    assert asked(address, *paths) == expected
