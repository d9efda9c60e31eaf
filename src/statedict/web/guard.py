"""Who may ask the server: only who was given its address, from this machine, and on a page of its own."""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = "; ".join((
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
))  # fmt: skip
"""Content-Security-Policy: scripts and styles are files of this server, and no text ever becomes markup."""
_HEADERS = (
    ("content-security-policy", POLICY),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("cache-control", "no-store"),
)
_OWN_SITES = frozenset({"same-origin", "none"})
"""What browsers say in Sec-Fetch-Site of a page's own requests, and of an address that a person gave."""


class Guard:
    """An ASGI application that passes on what may be asked, and refuses all else without a word about why.

    The first part of a path must be the token. The Host must be this machine by its own names, which a page that
    rebinds its name in DNS cannot say; an Origin, where one is sent, must be the server's own.
    """

    def __init__(self, app: App, token: str, port: int) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = frozenset(f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost"))
        self._origins = frozenset(b"http://" + host for host in self._hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        refused = self._refusal(scope)
        if refused is not None:
            await _refuse(refused, send)
            return
        token, _, rest = scope["path"].removeprefix("/").partition("/")
        within = {**scope, "root_path": f"/{token}", "path": "/" + rest, "raw_path": None}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                held = [pair for pair in message.get("headers", []) if pair[0].lower() not in _NAMES]
                message = {**message, "headers": [*held, *_ENCODED]}
            await send(message)

        await self._app(within, receive, with_headers)

    def _refusal(self, scope: Scope) -> int | None:
        """The status with which a request is refused; None where it is not."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        if [host for host in headers.get(b"host", [b""]) if host not in self._hosts]:
            return 421
        if [origin for origin in headers.get(b"origin", []) if origin not in self._origins]:
            return 403
        if [site for site in headers.get(b"sec-fetch-site", []) if site.decode("latin-1") not in _OWN_SITES]:
            return 403
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405
        if scope["method"] == "POST" and b"origin" not in headers:
            return 403
        token = scope["path"].removeprefix("/").partition("/")[0]
        if not secrets.compare_digest(token.encode(), self._token):
            return 404
        return None


_ENCODED = [(name.encode(), value.encode()) for name, value in _HEADERS]
_NAMES = frozenset(name for name, _ in _ENCODED)


async def _refuse(status: int, send: Send) -> None:
    headers = [*_ENCODED, (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
