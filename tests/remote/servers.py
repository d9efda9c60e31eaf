"""A web server on the loopback interface, that counts what it is asked for, and misbehaves on demand."""

import re
import socket
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class WebServer:
    """A folder, served. What is set here holds from the next request on."""

    folder: Path
    port: int = 0
    ranges: bool = True
    tags: bool = True
    """Whether it tells ETags; otherwise when a file was modified."""
    busy: int = 0
    """So many requests are answered 503 first."""
    status: int = 503
    cut: int = 0
    """Each answer ends after so many bytes, though it says that there are more; 0: none does."""
    reset: int = 0
    """So many answers end in their midst by a reset of the connection."""
    dropped: int = 0
    """So many requests are not answered at all."""
    delay: float = 0.0
    password: str | None = None
    """What `Authorization` has to hold."""
    requests: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])
    """Path, first byte, and bytes that were asked for, of each request."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self) -> int:
        """Bytes that were asked for since the last call."""
        with self.lock:
            total = sum(size for _, _, size in self.requests)
            self.requests.clear()
        return total

    def forget(self) -> None:
        with self.lock:
            self.requests.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"  # type: ignore[reportIncompatibleVariableOverride]  the only one that makes it

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        web = self.server.web
        path = web.folder / unquote(urlsplit(self.path).path).lstrip("/")
        if web.delay:
            threading.Event().wait(web.delay)
        with web.lock:
            if web.dropped:
                web.dropped -= 1
                self.close_connection = True
                return
            if web.busy:
                web.busy -= 1
                self._empty(web.status, {"Retry-After": "0"})
                return
        if web.password is not None and self.headers.get("Authorization") != web.password:
            self._empty(401)
        elif path.is_dir():
            self._listing(path)
        elif not path.is_file():
            self._empty(404)
        else:
            self._file(web, path)

    def _file(self, web: WebServer, path: Path) -> None:
        data = path.read_bytes() if path.stat().st_size < 1 << 24 else b""
        size = path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if web.ranges else None
        start, end = (int(asked[1]), min(int(asked[2]) + 1, size)) if asked else (0, size)
        if asked and start >= size:
            self._empty(416, {"Content-Range": f"bytes */{size}"})
            return
        with web.lock:
            web.requests.append((self.path, start, end - start))
        with path.open("rb") as file:
            file.seek(start)
            body = file.read(end - start)
        self.send_response(206 if asked else 200)
        if web.tags:
            self.send_header("ETag", f'"{sha256(data or str(path.stat().st_mtime_ns).encode()).hexdigest()[:16]}"')
        else:
            self.send_header("Last-Modified", formatdate(path.stat().st_mtime, usegmt=True))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self._is_reset(web):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()  # with nothing left to say, which is a reset
            self.close_connection = True
            return
        if web.cut and len(body) > web.cut:
            self.wfile.write(body[: web.cut])
            self.close_connection = True
            return
        self.wfile.write(body)

    def _is_reset(self, web: WebServer) -> bool:
        with web.lock:
            web.reset -= (is_reset := web.reset > 0)
            return is_reset

    def _listing(self, path: Path) -> None:
        base = urlsplit(self.path).path.rstrip("/")
        names = sorted(each.name + "/" * each.is_dir() for each in path.iterdir())
        body = "".join(f'<a href="{base}/{name}">{name}</a>\n' for name in names).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _empty(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    web: WebServer

    def handle_error(self, request: Any, client_address: Any) -> None: ...  # a client may go away


@contextmanager
def web_server(folder: Path) -> Generator[WebServer]:
    """A server of that folder, gone when the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.web = WebServer(folder, server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
