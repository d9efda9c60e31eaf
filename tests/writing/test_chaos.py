"""`ckpt-chaos` kills a job at each change of its folder, takes away what was not durable yet, and lets it resume."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def raised(runs: Path) -> set[str]:
    """The last lines of what failed to resume."""
    results = [json.loads(path.read_text()) for path in runs.glob("*/result.json")]
    return {each["resume_tail"][-500:] for each in results if each["outcome"]["raised"]}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "sharded"])
def test_a_killed_job_resumes_as_if_nothing_had_been(tmp_path: Path, kind: str) -> None:
    job = [sys.executable, "-m", "tests.writing.training", "{out}", kind]
    options = {
        "--modes": "unsynced",
        "--max-points": "200",
        "--step-regex": r"resumed from step (\d+)",
        "--result-file": "{out}/final",
        "--fail-on": "HARD_FAIL,SILENT_DIVERGENCE,LOST_WORK",
        "--work": str(tmp_path / "runs"),
    }
    command = [sys.executable, "-m", "ckpt_chaos", "run", *(text for pair in options.items() for text in pair)]
    ran = subprocess.run([*command, "--", *job], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr + "\n".join(raised(tmp_path / "runs"))
    last = ran.stdout.splitlines()[-1]
    verdicts = re.fullmatch(r"PASS: (\d+)", last)
    assert verdicts, last
    assert int(verdicts[1]) >= 10  # it was killed, and more than a few times
