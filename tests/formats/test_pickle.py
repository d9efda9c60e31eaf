"""The restricted unpickler: what harmful pickles become, and that nothing at all is done for them."""

import copyreg
import io
import os
import pickle
import pickletools
import resource
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statedict.errors import FormatError, LimitError, StatedictError
from statedict.formats._pickle import load, read_pickle
from statedict.formats._torch import KNOWN
from statedict.limits import DEFAULT_LIMITS, Limits
from statedict.opaque import Opaque
from statedict.source import BytesSource
from tests.formats.contract import assert_told
from tests.formats.hostile import CALLS, ERRORS, name, parameters, text, wrapped
from tests.formats.stored import index_of

WAS_HERE = Path("/tmp/statedict-was-here")


@pytest.fixture(autouse=True)
def nothing_ran() -> Generator[None, None, None]:
    """No payload ran; and none took long, or much memory."""
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert not WAS_HERE.exists()
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


@pytest.mark.parametrize(("body", "expected"), parameters(CALLS))
def test_a_payload_becomes_a_description(body: bytes, expected: str | None) -> None:
    index = index_of(wrapped(body), "pickle")
    value = index.modules[""].attributes["value"]
    printed = repr(value)
    assert len(printed) < 5_000_000
    if expected is not None:
        assert type(value) is Opaque
        assert printed == expected


@pytest.mark.parametrize(("body", "error"), ERRORS.values(), ids=ERRORS.keys())
def test_a_payload_is_refused(body: bytes, error: type[StatedictError]) -> None:
    with pytest.raises(error, match=r"^net\.pt: ") as caught:
        index_of(wrapped(body), "pickle")
    assert type(caught.value) is error
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_nothing_is_imported_run_or_written_for_any_of_them() -> None:
    code = """
import sys
from statedict import formats
from statedict.errors import StatedictError
from statedict.limits import DEFAULT_LIMITS
from statedict.source import BytesSource
from tests.formats import hostile

FORBIDDEN = {"exec", "compile", "import", "open", "pickle.find_class", "subprocess.Popen", "ctypes.dlopen"}
opened = 0

def hook(event, arguments):
    if armed and (event in FORBIDDEN or event.startswith(("os.", "socket.", "shutil."))):
        print("FORBIDDEN", event, arguments, flush=True)
        raise SystemExit(3)

def open_all():
    global opened
    for body, _ in [*hostile.CALLS.values(), *hostile.ERRORS.values()]:
        try:
            index = formats.read(BytesSource(hostile.wrapped(body), "x"), DEFAULT_LIMITS, "pickle")
            repr(dict(index.modules[""].attributes))
        except StatedictError as error:
            str(error)
        opened += 1

armed = False
sys.addaudithook(hook)
open_all()  # what the standard library and statedict load on first use
armed = True
open_all()
armed = False
third_party = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
third_party -= {"statedict", "tests", "__main__", "sitecustomize", "usercustomize", "__mp_main__"}
print(opened, sorted(name for name in third_party if not name.startswith(("_", "distutils-"))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split(maxsplit=1) == [str(2 * (len(CALLS) + len(ERRORS))), "[]\n"]


def test_a_class_that_the_program_registered_is_not_looked_up() -> None:
    copyreg.add_extension("os", "kill", 0x7A)
    try:
        pickled = pickle.dumps(os.kill, 2).replace(b"cposix\nkill\n", b"\x82\x7a")
        copyreg._extension_cache[0x7A] = os.kill  # type: ignore[attr-defined]
        assert pickle.loads(pickled) is os.kill
        with pytest.raises(FormatError, match="names a class by a number"):
            index_of(pickled, "pickle")
    finally:
        copyreg.remove_extension("os", "kill", 0x7A)
        copyreg._extension_cache.pop(0x7A, None)  # type: ignore[attr-defined]


def test_a_pickle_ends_at_its_stop() -> None:
    pickled = b"\x80\x04]" + text("v") + b"a."
    for rest in (b"", b"N.", b"\xff" * 10, pickled):
        assert read_pickle(BytesSource(pickled + rest, "x"), 0, DEFAULT_LIMITS) == (pickled, len(pickled))


def test_a_pickle_is_read_in_pieces_of_any_size() -> None:
    data = pickle.dumps(["a", "x" * 300, "b", [10**50, 1.5, b"y" * 70_000], "c", "é"], 4)
    for piece in (1, 2, 7, 1 << 20):
        assert read_pickle(BytesSource(b"head" + data + b"tail", "x"), 4, DEFAULT_LIMITS, piece) == (
            data,
            4 + len(data),
        )


@pytest.mark.parametrize("protocol", [4, 5])
def test_frames_may_be_longer_than_what_is_read_ahead(protocol: int) -> None:
    """What stands for an opcode is longer: nothing may be lost where the frame would have ended."""
    for size in range(400, 440):
        value = [{f"key {number}": {number: "x" * (number % 50)}} for number in range(size)]
        data = pickle.dumps(value, protocol)
        assert data[2:3] == b"\x95"
        assert int.from_bytes(data[3:11], "little") > io.DEFAULT_BUFFER_SIZE
        read, end = read_pickle(BytesSource(data, "x"), 0, DEFAULT_LIMITS)
        assert (end, load(read, "x", KNOWN, lambda pid: pid)) == (len(data), value)


def test_a_pickle_larger_than_the_limit() -> None:
    data = pickle.dumps(list(range(1000)), 2)
    limits = Limits(header_bytes=len(data))
    assert read_pickle(BytesSource(data, "x"), 0, limits)[1] == len(data)
    with pytest.raises(LimitError, match="header_bytes"):
        read_pickle(BytesSource(data, "x"), 0, Limits(header_bytes=len(data) - 1))


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.lists(inner).map(tuple),
    max_leaves=20,
)


@given(value=plain, protocol=st.sampled_from([0, 1, 2, 3, 4, 5]))
@settings(deadline=None)
def test_plain_values_are_what_pickle_makes_of_them(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    read, end = read_pickle(BytesSource(data, "x"), 0, DEFAULT_LIMITS)
    assert end == len(data)
    assert load(read, "x", KNOWN, lambda pid: pid) == value


@given(data=st.binary(max_size=200), start=st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"\x80\x02}(", name("a.B")]))
@settings(deadline=5000, max_examples=300)
def test_any_bytes_raise_nothing_but_our_errors(data: bytes, start: bytes) -> None:
    try:
        index_of(start + data + b".", "pickle")
    except StatedictError as error:
        assert_told(error)


@given(
    codes=st.lists(
        st.sampled_from([opcode.code.encode("latin1") for opcode in pickletools.opcodes]) | st.binary(max_size=3),
        max_size=40,
    )
)
@settings(deadline=5000, max_examples=500)
def test_any_opcodes_raise_nothing_but_our_errors(codes: list[bytes]) -> None:
    try:
        repr(dict(index_of(b"\x80\x04" + name("a.B") + b")R}" + b"".join(codes) + b".", "pickle").modules))
    except StatedictError as error:
        assert_told(error)


KEYS: dict[str, bytes] = {
    "a key of a dict": b"}%bNs",
    "a key among many": b"}(K\x01N%bNu",
    "a key of an OrderedDict": name("collections.OrderedDict") + b")R%bNs",
    "a key of an object": name("a.B") + b")R%bNs",
    "a key of a defaultdict's items": name("collections.defaultdict") + b"N](%bN\x86e\x86R",
    "a dict's items": name("builtins.dict") + b"](%bN\x86e\x85R",
    "an item of a set": name("builtins.set") + b"](%be\x85R",
    "an item of a frozenset": name("builtins.frozenset") + b"](%be\x85R",
    "an item added to a set": b"\x8f(K\x01%b\x90",
    "an item added to an object": name("a.B") + b")R(%b\x90",
    "an item of a newer frozenset": b"(%b\x91",
    "a tensor's shape": name("torch._utils._rebuild_meta_tensor_no_storage")
    + b"("
    + name("torch.float32")
    + b"%b)\x89tR",
}


@pytest.mark.parametrize("where", KEYS.values(), ids=KEYS.keys())
def test_looking_up_a_key_never_takes_for_ever(where: bytes) -> None:
    """Python's own hash of these tuples, each of which holds the one before twice, would run for ages."""
    _open_with(where, b")" + b"2\x86" * 100)


@pytest.mark.slow
def test_looking_up_a_key_never_ends_the_process() -> None:
    """Python's own hash of as many tuples, one in the other, overflows the stack."""
    _open_with(KEYS["a key of a dict"], b")" + b"\x85" * 1_000_000)


def _open_with(where: bytes, bomb: bytes) -> None:
    try:
        assert repr(dict(index_of(wrapped(where % bomb), "pickle").modules[""].attributes))
    except LimitError as error:
        assert_told(error)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_honest_keys_and_sets_are_kept(protocol: int) -> None:
    value: dict[Any, Any] = {(1, ("a", (None,))): 1, "s": {1, (2, 3)}, frozenset([(1,), 2]): {3: {4}}, 1.5: frozenset()}
    value["large"] = [set(range(5000)), "x" * 200_000, {number: number for number in range(3000)}]
    data = pickle.dumps(value, protocol)
    read, _ = read_pickle(BytesSource(data, "x"), 0, DEFAULT_LIMITS)
    made = load(read, "x", {}, lambda pid: pid)
    assert made == value
    assert {type(each) for each in (made["s"], *made["large"][:1])} == {set}


SHAPES: dict[str, tuple[Any, str]] = {
    "a name of Python 2": (b"\x80\x02" + name("__builtin__.eval") + b")R.", "builtins.eval()"),
    "a name that only looks old": (b"\x80\x04" + name("commands.Net") + b")R.", "commands.Net()"),
    "bytes of Python 2": (b"\x80\x02U\x02\xff\x00.", r"'\udcff\x00'"),
    "a set": (pickle.dumps({1}, 2), "{1}"),
    "a frozenset": (pickle.dumps(frozenset({1}), 2), "frozenset({1})"),
    "a bytearray": (pickle.dumps(bytearray(b"ab\xff"), 2), r"bytearray(b'ab\xff')"),
    "bytes": (pickle.dumps(b"ab\xff", 2), r"b'ab\xff'"),
    "a range": (pickle.dumps(range(3), 2), "builtins.range(0, 3, 1)"),
    "a complex": (pickle.dumps(1j, 2), "1j"),
}


@pytest.mark.parametrize(("data", "printed"), SHAPES.values(), ids=SHAPES.keys())
def test_builtin_values_of_older_protocols(data: bytes, printed: str) -> None:
    assert repr(load(data, "x", {}, lambda pid: pid)) == printed
