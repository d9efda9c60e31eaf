"""Runs one command with its output discarded, or kept in a file, and prints what the process took, as JSON.

Linux counts what the parent holds at the moment of the start as part of the child's peak memory: so this is a process
of its own, `python -I -S`, that loads nothing before the command has ended. What it holds itself is less than any
Python that does something.
"""

import os
import sys
import time


def run(output: str, command: list[str]) -> dict[str, float]:
    """Wall and processor seconds, bytes of peak memory, bytes read and bytes that came from the disk of one run."""
    stdout = (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    begin = time.perf_counter()
    child = os.posix_spawn(command[0], command, os.environ, file_actions=[stdout])
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # ended, but not forgotten yet
    seconds = time.perf_counter() - begin
    with open(f"/proc/{child}/io", encoding="ascii") as lines:  # noqa: PTH123 - pathlib would be memory
        counts = dict(line.split(": ") for line in lines)
    _, status, usage = os.wait4(child, 0)
    return {
        "exit_code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
        "read_bytes": int(counts["rchar"]),
        "disk_bytes": int(counts["read_bytes"]),
    }


if __name__ == "__main__":
    result = run(sys.argv[1], sys.argv[2:])

    import json

    json.dump(result, sys.stdout)
