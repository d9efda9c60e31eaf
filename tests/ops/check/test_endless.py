"""Small files that would be looked at for ever: each is told, with few bytes and operations followed."""

import ast
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.measuring import Memory
from statedict.limits import DEFAULT_LIMITS, Limits
from statedict.ops.check import zips
from statedict.ops.check.code import jinja, machine, pickles, sources, texts, watching
from statedict.ops.check.code.names import verdict
from statedict.ops.check.files import FILE_CHECKS, check_files
from statedict.source import BytesSource
from tests.corpus.costly import COSTLY, arrays_within, calls_of_calls, directories, headers_of_long_names
from tests.corpus.opcodes import SYSTEM, call, data, name, number, pickled
from tests.formats.stored import CountingSource

MIB = 1 << 20
MOST_READ = 300 * MIB
"""Bytes that are read of a file of a MiB, over and over: by all that look for something, in all members."""
MOST_MEMORY = 300 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("costly", COSTLY.values(), ids=COSTLY)
def test_it_ends(costly: Any) -> None:
    made = costly.make()
    assert len(made) <= MIB
    source, memory = CountingSource(made, costly.file), Memory()
    before = memory.forget()
    check_files(source, FILE_CHECKS, DEFAULT_LIMITS)
    assert memory.grown(before) < MOST_MEMORY
    assert source.read_bytes < MOST_READ


@pytest.mark.slow
@pytest.mark.parametrize("named", ["entries of one pickle", "sixteen directories"])
def test_bombs_are_told(named: str) -> None:
    found = check_files(BytesSource(COSTLY[named].make(), "x.pt"), FILE_CHECKS, DEFAULT_LIMITS)
    assert any(each.severity != "note" for each in found.findings)


def test_a_name_of_half_a_million_parts() -> None:
    assert verdict("a", "b." * 500_000).grade == "dangerous"


def test_expressions_are_written_out_so_often_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    monkeypatch.setattr(watching, "written", lambda value: str(written.append(value)))
    pickles.scan(BytesSource(calls_of_calls()), "x", DEFAULT_LIMITS)
    assert 1_000 < len(written) <= 5_100


def test_a_name_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0

    def graded(module: str, name: str) -> Any:
        nonlocal longest
        longest = max(longest, len(name))
        return verdict(module, name)

    monkeypatch.setattr(watching, "verdict", graded)
    pickles.scan(BytesSource(COSTLY["attributes of attributes"].make()), "x", DEFAULT_LIMITS)
    assert 1_000 < longest < 1_010


def test_a_memo_is_not_copied_for_each_array(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Counted(machine.Overlay):
        def __init__(self, below: dict[Any, Any]) -> None:
            super().__init__(below)
            sizes.append(dict.__len__(self))

    monkeypatch.setattr(pickles, "Overlay", Counted)
    pickles.scan(BytesSource(arrays_within(memo=1_000)[:100_000]), "x", DEFAULT_LIMITS)
    assert len(sizes) > 5_000
    assert not any(sizes)


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 19)))
def test_an_overlay_is_as_a_copy(below: list[int], above: list[int]) -> None:
    base = dict.fromkeys(below, "below")
    copy, overlay = dict(base), machine.Overlay(base)
    for key in above:
        copy[key] = overlay[key] = str(key)
        assert len(overlay) == len(copy)
    assert [overlay.get(key, "none") for key in range(20)] == [copy.get(key, "none") for key in range(20)]
    assert base == dict.fromkeys(below, "below")


def test_arrays_of_objects_in_each_other_end_at_a_depth() -> None:
    found = pickles.scan(BytesSource(COSTLY["arrays of objects"].make()[:50_000]), "x", Limits(nested=3))
    assert any("deeper than `Limits.nested` (3)" in act.reason for act in found.acts)


def test_long_texts_are_looked_into_once() -> None:
    for name_of in ("texts that are encoded", "bytes that are loaded"):
        found = pickles.scan(BytesSource(COSTLY[name_of].make()), "x", DEFAULT_LIMITS)
        assert [source.size for source, _ in found.nested] == [MIB // 2]


OTHERS = b"".join(call(name("m", f"n{at}"), number(at)) + b"0" for at in range(1_100))
LOADED = b"".join(call(name("torch.storage", "_load_from_bytes"), data(b"%d  " % at)) + b"0" for at in range(1_100))


@pytest.mark.parametrize(
    "made",
    [
        pickled(OTHERS + SYSTEM),
        pickled(OTHERS + name("os", "system")),
        pickled(LOADED + call(name("torch.storage", "_load_from_bytes"), data(pickled(SYSTEM)))),
        pickled(OTHERS + b"N") * 11 + pickled(SYSTEM),
    ],
    ids=["called", "imported", "loaded", "in another pickle"],
)
def test_what_is_dangerous_is_not_hidden_behind_many_that_are_not(made: bytes) -> None:
    assert check_files(BytesSource(made, "x.pt"), FILE_CHECKS, DEFAULT_LIMITS).grade == "dangerous"


def test_pickles_behind_very_many_others_are_told() -> None:
    found = pickles.scan(BytesSource(pickled(b"N") * 10_000 + pickled(SYSTEM)), "x", DEFAULT_LIMITS)
    assert [act.reason for act in found.acts] == ["has 10,000 pickles in a row: what follows them is not looked into"]


def test_directories_that_lie_within_each_other_are_not_all_read() -> None:
    made = directories()
    archive = zips.read(BytesSource(made), DEFAULT_LIMITS)
    assert len(archive.ends) == 16
    assert len(archive.entries) * 46 < 2 * len(made)
    assert archive.problems[-1] == "has directories that lie within each other, of which not all are read"
    assert check_files(BytesSource(made, "x.zip"), ["code"], DEFAULT_LIMITS).grade == "dangerous"


def test_headers_that_lie_within_each_other_are_not_all_read() -> None:
    made = headers_of_long_names()
    archive = zips.read(BytesSource(made), DEFAULT_LIMITS)
    assert 0 < sum(len(header.name) for header in archive.locals.values()) < 2 * len(made)
    assert archive.unread == "has headers that lie within each other, of which not all are read"
    assert check_files(BytesSource(made, "x.zip"), ["code"], DEFAULT_LIMITS).grade == "dangerous"


def test_of_programs_that_unpack_only_so_much_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    parse = vars(ast) | {"parse": lambda text: parsed.append(sources.signs(text)) or ast.Module([], [])}
    monkeypatch.setattr(sources, "ast", SimpleNamespace(**parse))
    found = check_files(BytesSource(COSTLY["entries of one program"].make(), "x.zip"), ["code"], DEFAULT_LIMITS)
    assert 100_000 < sum(parsed) <= 200_000
    assert found.grade == "unknown"
    assert any("words and signs, which is not looked into" in each.what for each in found.findings)


def test_of_texts_that_unpack_only_so_much_is_looked_into() -> None:
    room = texts.Texts(MIB)
    assert [room.take(MIB) for _ in range(3)] == [True, True, False]
    assert not room.take(1)
    assert texts.Texts(100 * MIB).take(200 * MIB)
    found = check_files(BytesSource(COSTLY["texts that unpack"].make(), "x.zip"), ["code"], DEFAULT_LIMITS)
    assert found.grade == "unknown"


@pytest.mark.parametrize(
    "template",
    [
        "{%" + " " * MIB,
        "{{ x|attr('a') " + "\\'" * MIB,
        "{{" * MIB,
        "{%" * MIB,
        "{{ '" + " " * MIB,
        "{{ x |" * 100_000,
        "{{ '__" * 100_000,
    ],
)
def test_templates_that_are_hard_to_match(template: str) -> None:
    list(jinja.acts(template, "x"))


@pytest.mark.parametrize("made", ["\n" * MIB, " - " * 300_000, "!!python/" * 100_000, "_target_" * 100_000])
def test_texts_that_are_hard_to_match(made: str) -> None:
    list(texts.acts(BytesSource(made.encode()), "x", "x.yaml", DEFAULT_LIMITS))


def test_no_more_operations_than_were_asked_for() -> None:
    found = pickles.scan(BytesSource(pickled(b"N0" * 1000 + b"N")), "x", DEFAULT_LIMITS, most=100)
    assert found.operations == 100
    assert "more than 100 opcodes" in found.broken
