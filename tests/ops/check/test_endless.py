"""Small files that would be looked at for ever: each is told, with few bytes and operations followed."""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable

import pytest

from statedict.limits import DEFAULT_LIMITS
from statedict.ops.check.code import jinja, pickles, texts
from statedict.ops.check.code.names import verdict
from statedict.ops.check.files import FILE_CHECKS, check_files
from statedict.source import BytesSource
from tests.corpus import archives, models
from tests.corpus.opcodes import call, data, name, pickled, text

MIB = 1 << 20


def overlapping() -> bytes:
    """Ten thousand entries of one member of a MiB, each a byte shorter."""
    member = archives.zipped(("a/data.pkl", b"\x80\x02" + b"N0" * (MIB // 2) + b"N."))
    at = member.index(archives.CENTRAL)
    entry = member[at : at + 46 + 10]
    entries = b"".join(entry[:20] + struct.pack("<LL", MIB - n, MIB - n) + entry[28:] for n in range(10_000))
    end = struct.pack("<4s4H2LH", archives.END, 0, 0, 10_000, 10_000, len(entries), at, 0)
    return member[:at] + entries + end


def deflated() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"a/{number}.pkl", b"\x80\x02" + b"N0" * (8 * MIB))
    return file.getvalue()


ENDLESS: dict[str, Callable[[], bytes]] = {
    "members that overlap": overlapping,
    "members that unpack to pickles": deflated,
    "headers that nothing lists": lambda: archives.torch_zip() + archives.LOCAL * (MIB // 4),
    "a stream that unpacks to a pickle": lambda: gzip.compress(b"\x80\x02" + b"N0" * (40 * MIB), mtime=0),
    "one text read a thousand times": lambda: pickled(
        data(pickled(b"N0" * 100_000 + b"N")) + b"\x94(" + call(name("a", "b"), b"h\0") * 2000 + b"t"
    ),
    "calls of what nobody knows": lambda: pickled(
        name("a", "b") + b"\x94(" + text("x") * 40 + b"t\x940" + b"h\0h\x01R0" * 60_000 + b"N"
    ),
    "templates without end": lambda: models.gguf("{{" * (MIB // 2)),
    "templates that repeat": lambda: models.gguf("x") + models.gguf("{{ x }}" * 1000)[24:] * 100,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("make", ENDLESS.values(), ids=ENDLESS)
def test_it_ends(make: Callable[[], bytes]) -> None:
    check_files(BytesSource(make(), "x.pt"), FILE_CHECKS, DEFAULT_LIMITS)


@pytest.mark.slow
def test_bombs_are_told() -> None:
    for make in (overlapping, deflated):
        found = check_files(BytesSource(make(), "x.pt"), FILE_CHECKS, DEFAULT_LIMITS)
        assert any(each.severity != "note" for each in found.findings)


def test_a_name_of_half_a_million_parts() -> None:
    assert verdict("a", "b." * 500_000).grade == "dangerous"


@pytest.mark.parametrize(
    "template", ["{{" * MIB, "{%" * MIB, "{{ '" + " " * MIB, "{{ x |" * 100_000, "{{ '__" * 100_000]
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
