"""An S3 server on the loopback interface: moto's, as a process of its own."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from urllib.error import URLError

_SECONDS = 60
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE0SECRET",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIexample",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def s3_server(log: Path) -> Generator[str]:
    """The URL of a server that keeps objects in memory, gone when the block ends."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT},
        )
    try:
        _wait(f"http://127.0.0.1:{port}/moto-api/")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _wait(url: str) -> None:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise TimeoutError("the S3 server does not start")
