"""Pickles whose opcodes mislead: what a scanner reads is not what a loader runs."""

import io
import pickle
import struct
import zlib
from collections.abc import Callable
from typing import Any

from tests.corpus.opcodes import (
    PYTHON,
    RUN,
    SYSTEM,
    SYSTEM_OLD,
    call,
    data,
    name,
    number,
    old_name,
    pickled,
    text,
    value,
)

_IMPORT = call(name("builtins", "__import__"), text("os"))


def _getattr(target: bytes, attribute: bytes) -> bytes:
    return call(name("builtins", "getattr"), target, attribute)


def _frame_that_lies() -> bytes:
    """A frame that ends within BINBYTES: C's reader goes on elsewhere than Python's (CPython #154848)."""
    hidden = (SYSTEM_OLD + b"(").ljust(256 + 5, b"N")
    body = b"N" + b"V" + b"a" * (8192 * 16 - 17) + b"\n0(" + b"\x95" + struct.pack("<Q", 2)
    return b"\x80\x05" + body + b"B\x07\x01\0\0" + b"\0\0" + hidden + b"1."


def _joblib(payload_within: bool) -> bytes:
    """What joblib writes: the bytes of an array between two opcodes, and then more of the pickle."""
    wrapper = name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81"
    dtype = call(name("numpy", "dtype"), text("f8"), b"\x89", b"\x88")
    state = {"subclass": None, "shape": (4,), "order": "C", "allow_mmap": False}
    body = b"}(" + b"".join(value(each) for pair in state.items() for each in pair)
    body += text("dtype") + dtype + b"ub"
    array = b"\xff" * 32
    if payload_within:
        array = (b"0" + SYSTEM).ljust(32, b"0") if len(SYSTEM) < 31 else b"0" + SYSTEM
        body = body.replace(number(4), number(-(-len(array) // 8)))
        array = array.ljust(8 * -(-len(array) // 8), b"0")
        return b"\x80\x04" + wrapper + body + array + b"N."
    return b"\x80\x04" + wrapper + body + array + b"0" + SYSTEM + b"."


def _dumped(values: list[Any], protocol: int) -> bytes:
    file = io.BytesIO()
    for each in values:
        pickle.dump(each, file, protocol)
    return file.getvalue()


_AFTER_BUILD = name("numpy", "prod") + b"N}" + text("a") + text("os") + text("b") + b"s" + b"\x86b0"
STREAMS: dict[str, tuple[Callable[[], bytes], str]] = {
    "GLOBAL": (lambda: pickled(SYSTEM_OLD, 2), "picklescan, from the first"),
    "INST": (lambda: b"(" + b"S'" + RUN.encode() + b"'\nios\nsystem\n.", "picklescan #21"),
    "OBJ": (lambda: pickled(b"(" + name("os", "system") + text(RUN) + b"o"), "modelaudit #584"),
    "OBJ and POP": (lambda: pickled(b"(" + name("os", "system") + text(RUN) + b"o0N"), "fickling GHSA-mxhj-88fx-4pcv"),
    "REDUCE and POP": (lambda: pickled(SYSTEM + b"0N"), "fickling GHSA-mxhj-88fx-4pcv"),
    "NEWOBJ": (lambda: pickled(name("os", "system") + text(RUN) + b"\x85\x81"), "modelaudit #581"),
    "NEWOBJ_EX": (lambda: pickled(name("subprocess", "Popen") + text(RUN) + b"\x85}" + text("shell") + b"\x88s\x92"), "modelaudit #581"),
    "BUILD behind a call": (lambda: pickled(SYSTEM + b"}b"), "fickling GHSA-mhc9-48gj-9gp3"),
    "names from the memo": (
        lambda: pickled(text("os") + b"\x94" + text("system") + b"\x940" + b"0" + b"h\0h\x01\x93" + text(RUN) + b"\x85R"),
        "picklescan #16, modelscan #85",
    ),
    "names from a memo that is not there": (
        lambda: pickled(b"h\x63" + text("os") + b"\x930" + SYSTEM), "picklescan #52, keyerror-exploit",
    ),
    "names that are numbers": (lambda: pickled(number(42) + text("os") + b"\x930" + SYSTEM), "picklescan #52, type-confusion-exploit"),
    "names that BUILD has set": (
        lambda: pickled(
            old_name("numpy", "prod") + b"N}" + text("a") + text("os") + b"s\x86b0" + old_name("numpy", "prod.a")
            + text("system") + b"\x93" + text(RUN) + b"\x85R"
        ),
        "modelscan #85",
    ),
    "BUILD on what is imported": (
        lambda: pickled(old_name("numpy", "prod") + b"N" + old_name("numpy", "core._internal.sys.modules") + b"\x86b0N"),
        "modelscan #89",
    ),
    "numpy's builtins": (
        lambda: pickled(
            call(call(old_name("builtins", "dict.get"), old_name("numpy", "__builtins__"), text("exec")), text(PYTHON))
        ),
        "modelscan #89",
    ),
    "SETITEM on what is imported": (
        lambda: pickled(old_name("sys", "modules") + text("x") + old_name("os", "system") + b"sN"), "picklescan, sys_module_override_sploit",
    ),
    "getattr of an import": (lambda: pickled(call(_getattr(_IMPORT, text("system")), text(RUN))), "fickling GHSA-h4rm-mm56-xf63"),
    "getattr by a name that is computed": (
        lambda: pickled(
            call(_getattr(_IMPORT, call(_getattr(text(""), text("join")), value(["sys", "tem"]))), text(RUN))
        ),
        "modelscan #331",
    ),
    "attrgetter": (
        lambda: pickled(call(call(call(name("_operator", "attrgetter"), text("system")), _IMPORT), text(RUN))),
        "GHSA-46h3-79wf-xr6c",
    ),
    "methodcaller": (
        lambda: pickled(call(call(name("_operator", "methodcaller"), text("system"), text(RUN)), _IMPORT)),
        "GHSA-955r-x9j8-7rhh",
    ),
    "locate and methodcaller": (
        lambda: pickled(
            call(call(name("operator", "methodcaller"), text("__call__"), text(RUN)), call(name("pydoc", "locate"), text("os.system")))
        ),
        "GHSA-84r2-jw7c-4r5q",
    ),
    "partial": (lambda: pickled(call(name("functools", "partial"), name("os", "system"), text(RUN))), "picklescan #29"),
    "partial that is called": (lambda: pickled(call(call(name("functools", "partial"), name("os", "system"), text(RUN)))), "fickling #210"),
    "map": (lambda: pickled(call(name("builtins", "list"), call(name("builtins", "map"), name("os", "system"), value([RUN])))), "CPython: pickle's documentation"),
    "an object's reduce": (lambda: pickled(call(name("copyreg", "_reconstructor"), name("os", "system"), name("builtins", "object"), b"N")), "copyreg"),
    "an extension's number": (lambda: pickled(b"\x82\x01" + text(RUN) + b"\x85R"), "modelaudit #623"),
    "a registered extension": (lambda: pickled(call(name("copyreg", "add_extension"), text("os"), text("system"), number(1)) + b"0\x82\x01" + text(RUN) + b"\x85R"), "modelaudit #623"),
    "before what is no opcode": (lambda: b"\x80\x04" + SYSTEM + b"\xff\xff\xff", "nullifAI, picklescan #33"),
    "before the file ends": (lambda: b"\x80\x04" + SYSTEM, "nullifAI, picklescan #33"),
    "before a text that is no UTF-8": (lambda: b"\x80\x04" + SYSTEM + b"0\x8c\x02\xff\xff.", "picklescan, malicious-invalid-bytes"),
    "before an empty stack": (lambda: pickled(SYSTEM + b"0000000tRb"), "fickling, InterpretationError"),
    "without a protocol": (lambda: SYSTEM_OLD + b".", "modelaudit #1524"),
    "without a protocol or an end": (lambda: b"cos\nsystem\n(S'" + RUN.encode() + b"'\ntR", "modelaudit #1524"),
    "with lines ended otherwise": (lambda: b"cos\r\nsystem\r\n(S'" + RUN.encode() + b"'\ntR.", "picklescan #26"),
    "with a module that is no ASCII": (lambda: pickled(old_name("\u00e9", "x") + b"0" + SYSTEM), "pickletools refuses it"),
    "a protocol of the future": (lambda: pickled(SYSTEM, 99), "pickletools takes it"),
    "a frame that lies": (_frame_that_lies, "CPython #154848, fickling"),
    "the second of two": (lambda: _dumped([{"a": 1}], 2) + pickled(SYSTEM), "GHSA-9gvj-pp9x-gcfr"),
    "the sixth of six": (lambda: _dumped([1, "two", [3], {"four": 4}, None], 0) + pickled(SYSTEM), "picklescan: it scans five"),
    "a pickle in bytes": (lambda: pickled(call(name("pickle", "loads"), data(pickled(SYSTEM)))), "modelscan #267"),
    "a pickle in torch's bytes": (lambda: pickled(call(name("torch.storage", "_load_from_bytes"), data(pickled(SYSTEM)))), "fickling, UnsafeImportsML"),
    "a pickle in bytes that are text": (
        lambda: pickled(
            call(name("torch.storage", "_load_from_bytes"), call(name("_codecs", "encode"), text(pickled(SYSTEM_OLD, 2).decode("latin-1")), text("latin1")))
        ),
        "pickle's protocol 2 writes bytes so",
    ),
    "behind an array of joblib's": (lambda: _joblib(payload_within=False), "aisbom #91"),
    "within an array of joblib's": (lambda: _joblib(payload_within=True), "its own reader skips what pickle runs"),
    "compressed by zlib": (lambda: zlib.compress(pickled(SYSTEM)), "joblib"),
    "behind 70,000 names": (lambda: pickled(b"".join(b"N0" for _ in range(70_000)) + SYSTEM), "scanners that look at a file's beginning"),
    "behind a long text": (lambda: pickled(b"X" + struct.pack("<I", 3 << 20) + b"x" * (3 << 20) + b"0" + SYSTEM), "scanners that look at a file's beginning"),
    "a bomb of lists": (lambda: pickled(b"".join([b"](" + b"N" * 10 + b"e\x94", *[b"](" + b"h" + bytes([at]) * 1 + (b"h" + bytes([at])) * 9 + b"e\x94" for at in range(40)]]) + b"0" + SYSTEM), "fickling, expansion attacks"),
}  # fmt: skip
