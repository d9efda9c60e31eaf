"""The server of the explorer: on this machine alone, under an address that nobody guesses, until it is told to end."""

import asyncio
import importlib
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from statedict.errors import StatedictError
from statedict.extras import needed
from statedict.web.side import Side

_HOST = "127.0.0.1"
_WAITING = 128
"""Connections that wait to be accepted."""
_AT_ONCE = 8
"""Answers that are found at once, each of which may read and hold blocks of tensors."""


def require_server() -> None:
    """Nothing, where a page can be served. Raises MissingExtraError with the command that installs what is missing."""
    for library in ("starlette", "uvicorn"):
        needed(library, "explore", f"the explorer needs {library}, which is not installed")


def listening(port: int) -> socket.socket:
    """A socket at that port of this machine's own address, 0 for any that is free. Raises StatedictError."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((_HOST, port))
    except OSError as error:
        held.close()
        reason = (error.strerror or str(error)).lower()
        raise StatedictError(f"port {port} of {_HOST} cannot be had: {reason}; choose another, or 0 for any") from None
    return held


def _prepare(sides: Sequence[Side]) -> None:
    """Make what the page asks for first, and load what its first heat map needs."""
    with suppress(StatedictError, OSError, ImportError, MemoryError):  # told on the page, once it is asked for
        for side in sides:
            side.encoded()
        importlib.import_module("statedict.kernels")


def serve(sides: Sequence[Side], held: socket.socket, ready: Callable[[str], None]) -> None:
    """Serve the explorer until Ctrl-C; `ready` is called with its address once it is to be had.

    The address holds 256 random bits, without which every request is refused: see `guard`.
    """
    import anyio.to_thread
    import uvicorn

    from statedict.web.app import application
    from statedict.web.guard import Guard

    token, port = secrets.token_urlsafe(32), held.getsockname()[1]
    config = uvicorn.Config(
        Guard(application(sides), token, port),  # pyright: ignore[reportArgumentType] - ASGI, by other names
        log_level="critical",  # errors are told on the page; what a browser cancels is none
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        proxy_headers=False,
        timeout_graceful_shutdown=1,
        ws="none",
        backlog=_WAITING,
    )

    async def served() -> None:
        # Too few descriptors, for one: asyncio prints a traceback each time, and tries again in a second, as it should.
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        anyio.to_thread.current_default_thread_limiter().total_tokens = _AT_ONCE
        await uvicorn.Server(config).serve(sockets=[held])

    threading.Thread(target=_prepare, args=(sides,), daemon=True).start()
    held.listen(_WAITING)
    ready(f"http://{_HOST}:{port}/{token}/")
    try:
        asyncio.run(served())
    except KeyboardInterrupt:
        return
