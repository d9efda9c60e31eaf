"""A Hugging Face hub on the loopback interface: as much of its protocol as reading needs, and what it was asked for."""

import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

REPO = "org/net"
COMMITS = "a" * 40, "b" * 40


@dataclass
class Hub:
    """One repository, whose commits are folders. What is set here holds from the next request on."""

    folder: Path
    port: int = 0
    main: str = COMMITS[0]
    """The commit that the branch is at; each is a folder of that name."""
    gated: bool = False
    """Whether its files are for those alone who were let in; what there is is told to everybody."""
    requests: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])
    """Path and range of each request."""

    @property
    def environment(self) -> dict[str, str]:
        """What lets huggingface_hub ask this hub, and nothing else."""
        cache = str(self.folder / "cache")
        return {"HF_ENDPOINT": f"http://127.0.0.1:{self.port}", "HF_HOME": cache, "HF_HUB_OFFLINE": "0"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"  # type: ignore[reportIncompatibleVariableOverride]  the only one that makes it

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        hub.requests.append((path, self.headers.get("Range")))
        if info := re.fullmatch(rf"/api/models/{REPO}(?:/revision/(\w+))?", path):
            self._json({"id": REPO, "sha": hub.main if info[1] in (None, "main") else info[1], "siblings": []})
        elif tree := re.fullmatch(rf"/api/models/{REPO}/tree/(\w+)/?", path):
            commit = hub.main if tree[1] == "main" else tree[1]
            files = sorted((hub.folder / commit).iterdir())
            self._json([{"type": "file", "oid": "0", "size": each.stat().st_size, "path": each.name} for each in files])
        elif (file := re.fullmatch(rf"/{REPO}/resolve/(\w+)/(.+)", path)) and self._allowed():
            self._file((hub.folder / file[1] / file[2]).read_bytes())
        elif file is None:
            self._json({"error": "Repository not found"}, 404, "RepoNotFound")

    def _allowed(self) -> bool:
        if self.server.hub.gated:
            self._json({"error": "Access is restricted"}, 403, "GatedRepo")
        return not self.server.hub.gated

    def _json(self, value: Any, status: int = 200, code: str = "") -> None:
        self._answer(status, json.dumps(value).encode(), {"X-Error-Code": code} if code else {})

    def _file(self, data: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = (int(asked[1]), min(int(asked[2]) + 1, len(data))) if asked else (0, len(data))
        told = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"} if asked else {}
        self._answer(206 if asked else 200, data[start:end], told)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", 0), _Handler)


@contextmanager
def model_hub(folder: Path) -> Generator[Hub]:
    """The hub of a folder that has a folder for each commit."""
    hub = Hub(folder)
    with _Server(hub) as server:
        hub.port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()
