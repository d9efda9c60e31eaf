"""The command line as a process: exit codes, one line on standard error, pipes, terminals, colours, start-up."""

import json
import os
import pty
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from statedict.cli.commands import COMMANDS, Commands, commands
from tests.commands import Ran, on_terminal, process, run

MORE = {
    "convert": ["out.safetensors"],
    "edit": ["out.safetensors"],
    "prune": ["out.safetensors", "--amount", "0.5"],
    "shrink": ["out.pt", "--amount", "0.5"],
    "match": ["good.safetensors"],
    "merge": ["good.safetensors", "out.safetensors"],
    "extract-lora": ["good.safetensors", "out"],
    "diff": ["good.safetensors"],
    "report": ["-o", "out.html"],
}
"""What commands need beside the file that they read first."""
SAFETENSORS = b'{"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one checkpoint, and files that are none."""
    header = SAFETENSORS + b" " * (-len(SAFETENSORS) % 8)
    good = struct.pack("<Q", len(header)) + header + bytes(24)
    (tmp_path / "good.safetensors").write_bytes(good)
    (tmp_path / "truncated.safetensors").write_bytes(good[:-1])
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("hello, this is no checkpoint\n")
    (tmp_path / "folder").mkdir()
    name = b"new\\nline\\u001b[31m"
    bad = b'{"' + name + b'":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}'
    (tmp_path / "bad\nname.safetensors").write_bytes(struct.pack("<Q", len(bad)) + bad + bytes(8))
    return tmp_path


def is_one_line_of_error(ran: Ran, code: int = 2) -> bool:
    return (
        ran.code == code
        and not ran.out
        and ran.err.startswith("statedict: ")
        and ran.err.endswith("\n")
        and ran.err[:-1].isprintable()
    )


def is_a_finding(ran: Ran) -> bool:
    lines = ran.out.splitlines()
    return (
        (ran.code, ran.err) == (1, "") and lines[0].startswith("error readable: ") and all(map(str.isprintable, lines))
    )


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "file", ["missing.pt", "empty.pt", "text.pt", "truncated.safetensors", "folder", "bad\nname.safetensors"]
)
def test_what_cannot_be_read_is_told_in_one_line(
    command: str, file: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    ran = run(command, file, *MORE.get(command, ()))

    if command == "check" and file not in ("missing.pt", "folder"):
        assert is_a_finding(ran)  # a damaged file is what it looks for
        return
    assert is_one_line_of_error(ran)
    assert file.replace("\n", r"\n") in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["tree"],
        ["tree", "good.safetensors", "--depth", "x"],
        ["tree", "good.safetensors", "--format", "nonsense"],
        ["ls", "good.safetensors", "--json", "--csv"],
        ["ls", "good.safetensors", "--where", "x"],
        ["ls", "good.safetensors", "{"],
        ["show", "good.safetensors", "b"],
        ["nonsense"],
        ["--nonsense"],
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)

    assert is_one_line_of_error(run(*arguments))


def test_a_process_ends_as_within_this_one(folder: Path) -> None:
    good, bad = process("ls", "good.safetensors", folder=folder), process("ls", "empty.pt", folder=folder)

    assert (good.code, good.err, good.out.splitlines()[1].split()[0]) == (0, "", "a.weight")
    assert is_one_line_of_error(bad)


def test_a_bug_is_told_in_one_line_and_in_full_when_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("some\nthing")

    monkeypatch.chdir(folder)
    monkeypatch.setattr("statedict.cli.options.opened", broken)

    ran = run("tree", "good.safetensors")
    assert is_one_line_of_error(ran)
    assert r"this is a bug in statedict: RuntimeError: some\nthing; set STATEDICT_TRACEBACK=1" in ran.err

    monkeypatch.setenv("STATEDICT_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in run("tree", "good.safetensors").err


def test_ctrl_c_ends_with_130(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(folder)
    monkeypatch.setattr("statedict.cli.options.opened", interrupted)
    ran = run("tree", "good.safetensors")

    assert (ran.code, ran.err.strip()) == (130, "statedict: interrupted")


def test_a_reader_that_goes_away_ends_it_quietly(folder: Path) -> None:
    entries = {f"a{at}.weight": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]} for at in range(20_000)}
    header = json.dumps({"a0.weight": entries["a0.weight"]} | entries).encode()
    path = folder / "many.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))

    done = subprocess.Popen(
        [sys.executable, "-m", "statedict", "ls", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert done.stdout is not None
    done.stdout.read(10)
    done.stdout.close()
    error = done.communicate(timeout=60)[1]

    assert (done.returncode, error) == (-signal.SIGPIPE, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_in_one_line(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "statedict", "ls", "good.safetensors"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            check=False,
        )

    assert (done.returncode, done.stderr) == (2, "statedict: no space left on device\n")


def on_pty(folder: Path, columns: int, **environment: str) -> str:
    """What `statedict tree` prints on a terminal of that width."""
    master, slave = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR")}
    done = subprocess.Popen(
        [sys.executable, "-m", "statedict", "tree", "good.safetensors"],
        stdout=slave,
        cwd=folder,
        env=kept | {"COLUMNS": str(columns), "TERM": "xterm"} | environment,
    )
    os.close(slave)
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(master)
    assert done.wait(60) == 0
    return b"".join(pieces).decode()


def test_a_terminal_has_colours_and_a_width(folder: Path) -> None:
    printed = on_pty(folder, 30)

    assert "\x1b[1mgood.safetens" in printed
    assert all(len(line) <= 30 for line in on_pty(folder, 30, NO_COLOR="1").splitlines())


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"CLICOLOR": "0"}, {"TERM": "dumb"}])
def test_a_terminal_without_colours(folder: Path, environment: dict[str, str]) -> None:
    assert "\x1b" not in on_pty(folder, 80, **environment)


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"FORCE_COLOR": "0"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_of_a_pipe(environment: dict[str, str], coloured: bool, folder: Path) -> None:
    assert ("\x1b[" in process("tree", "good.safetensors", folder=folder, **environment).out) is coloured


def test_an_encoding_without_the_branches_gets_ascii(folder: Path) -> None:
    printed = process("tree", "good.safetensors", folder=folder, PYTHONIOENCODING="ascii").out

    assert "`- a" in printed
    assert printed.isascii()


def test_version_help_and_no_command(folder: Path) -> None:
    from statedict import __version__
    from statedict.accelerator import used

    assert process("--version", folder=folder).out == f"statedict {__version__} ({used()})\n"
    assert run("--help").out == run().out == run("-h").out
    assert run().code == 0


def test_help_is_a_command_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("help").out == run("--help").out
    assert run("help", "tree").out == run("tree", "--help").out
    assert is_one_line_of_error(run("help", "nonsense"))
    said = "statedict: there is no command `version`; did you mean `--version`? (see `statedict --help`)\n"
    assert run("version").err == said
    assert run("xyzzy").err == "statedict: there is no command `xyzzy` (see `statedict --help`)\n"


def test_a_group_of_commands_alone_says_what_there_is(folder: Path) -> None:
    assert run("catalog").out == run("catalog", "--help").out
    assert (run("catalog").code, run("catalog").err) == (0, "")


def test_an_option_without_its_value_leads_to_the_help_of_its_command(folder: Path) -> None:
    ran = process("stats", "good.safetensors", "--plot", folder=folder)
    assert ran.err == "statedict: Option '--plot' requires an argument (see `statedict stats --help`)\n"


def test_on_a_narrow_terminal_formats_say_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch, 60)
    first = run("formats").out.splitlines()[1]
    assert first == "safetensors      read, write  safetensors, by any writer"


def test_a_folder_that_is_only_a_dot_has_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "models").mkdir()
    (folder / "good.safetensors").rename(folder / "models" / "good.safetensors")
    monkeypatch.chdir(folder / "models")
    assert run("tree", ".").out == run("tree", "../models").out
    assert "models" in run("tree", ".").out


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    assert isinstance(commands, Commands)
    for name, summary in COMMANDS.items():
        command = commands.get_command(None, name)  # pyright: ignore[reportArgumentType]  it does not look at it

        assert command is not None
        assert command.get_short_help_str(200) == summary


def test_help_and_names_alone_load_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys; from click.testing import CliRunner; from statedict.cli.commands import commands; "
        "CliRunner().invoke(commands, sys.argv[1:]); "
        "print(*sorted({'numpy', 'ml_dtypes', 'rich', 'torch', 'difflib'} & set(sys.modules)))"
    )
    for arguments in (["--help"], ["tree", "good.safetensors"], ["ls", "good.safetensors", "--json"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=folder, check=True
        )
        assert done.stdout.strip() in ("", "difflib")


def test_json_is_strict_whatever_the_values(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    header = b'{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}'
    values = struct.pack("<3f", float("nan"), float("inf"), 1)
    (folder / "nan.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + values)

    document = json.loads(run("show", "nan.safetensors", "w", "--json").out, parse_constant=pytest.fail)

    assert document["first_values"] == ["nan", "inf", 1.0]


def test_the_runner_of_tests_and_the_program_agree() -> None:
    assert CliRunner().invoke(commands, ["--version"]).exit_code == 0
