"""A real Chromium for tests of pages, and the explorer as a process of its own to look at.

Where there is no Chromium, the tests are skipped; under CI that is a failure.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Chromium's own business with the world is none of a test's; root has no sandbox."""


@dataclass
class Looked:
    """What a page did while it was looked at, beside what it showed."""

    complaints: list[str] = field(default_factory=list[str])
    """Errors and warnings on the console, and errors that nobody caught."""
    requests: list[str] = field(default_factory=list[str])
    """The addresses that were asked for."""
    downloads: list[Any] = field(default_factory=list[Any])


def chromium() -> str:
    """Where Chromium is. Skips the test where it is not installed; under CI that is a failure."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        reason = "Chromium is not installed (on Debian: `apt-get install chromium`)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return str(found)


@contextmanager
def browser() -> Generator[Any]:
    """A Chromium, closed in the end."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        held = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield held
        finally:
            held.close()


@contextmanager
def opened_page(held: Any, address: str, **options: Any) -> Generator[tuple[Any, Looked]]:
    """A page in a context of its own, painted; and what it does."""
    context = held.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    page, looked = context.new_page(), Looked()
    page.set_default_timeout(20_000)
    page.on("console", lambda said: looked.complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: looked.complaints.append(str(error)))
    page.on("request", lambda request: looked.requests.append(request.url))
    page.on("download", lambda download: looked.downloads.append(download))
    try:
        page.goto(address)
        page.wait_for_selector("body[data-painted]")
        yield page, looked
    finally:
        context.close()


@contextmanager
def served(
    *arguments: str, folder: Path, before: Callable[[], None] | None = None
) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """`statedict explore` with these arguments: its address and its process, which is told to end in the end, and does.

    `before` is called in the new process, as the first thing.
    """
    command = [sys.executable, "-m", "statedict", "explore", *arguments, "--no-browser"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,  # noqa: PLW1509 - no other thread runs
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{43}/", line)
        assert found, (line, process.stderr.read() if process.stderr else "")
        yield found[0], process
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, ""), (process.returncode, err, out)


@contextmanager
def explorer(*arguments: str, folder: Path) -> Generator[str]:
    """The address of `statedict explore` with these arguments, which is told to end in the end, and does."""
    with served(*arguments, folder=folder) as (address, _):
        yield address
