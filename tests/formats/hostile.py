"""Pickles that want to do harm, by name: each with the one error that it must raise, or the text of what it becomes.

Nothing here imports anything but the standard library and statedict, so that a bare process can open them all.
"""

import pickle
import struct
from collections.abc import Mapping
from typing import Any

from statedict.errors import FormatError, LimitError, StatedictError


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def name(full_name: str) -> bytes:
    module, _, last = full_name.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def laughs(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value, value]
    return pickle.dumps(value, 2)[2:-1]


def clique(size: int) -> bytes:
    lists: list[Any] = [[] for _ in range(size)]
    for each in lists:
        each.extend(lists)
    return pickle.dumps(lists, 2)[2:-1]


RUN = text("touch /tmp/statedict-was-here")
SYSTEM = name("os.system")
COMMAND = "os.system('touch /tmp/statedict-was-here')"
DEEP = 100_000

# None: whatever it becomes, that is made and printed in time.
CALLS: dict[str, tuple[bytes, str | None]] = {
    "REDUCE": (call(SYSTEM, RUN), COMMAND),
    "STACK_GLOBAL": (b"\x8c\x02os\x8c\x06system\x93" + RUN + b"\x85R", COMMAND),
    "NEWOBJ": (SYSTEM + RUN + b"\x85\x81", COMMAND),
    "NEWOBJ_EX": (SYSTEM + RUN + b"\x85}" + text("shell") + b"\x88s\x92", COMMAND[:-1] + ", shell=True)"),
    "INST": (b"(" + RUN + b"ios\nsystem\n", COMMAND),
    "OBJ": (b"(" + SYSTEM + RUN + b"o", COMMAND),
    "a dotted name": (
        call(b"\x8c\x02os\x8c\x0bpath.system\x93", RUN),
        "os.path.system('touch /tmp/statedict-was-here')",
    ),
    "Python 2's eval": (call(name("__builtin__.eval"), text("1/0")), "__builtin__.eval('1/0')"),
    "exec": (call(name("builtins.exec"), text("1/0")), "builtins.exec('1/0')"),
    "compile": (call(name("builtins.compile"), text("1/0")), "builtins.compile('1/0')"),
    "open for writing": (call(name("builtins.open"), text("/tmp/x"), text("w")), "builtins.open('/tmp/x', 'w')"),
    "a pickle in a pickle": (call(name("pickle.loads"), b"C\x02N."), "pickle.loads(b'N.')"),
    "torch.load": (call(name("torch.load"), text("x")), "torch.load('x')"),
    "a tensor from bytes": (
        call(name("torch.storage._load_from_bytes"), b"C\x02N."),
        "torch.storage._load_from_bytes(b'N.')",
    ),
    "numpy.load": (call(name("numpy.load"), text("x")), "numpy.load('x')"),
    "a URL": (call(name("urllib.request.urlopen"), text("http://x")), "urllib.request.urlopen('http://x')"),
    "getattr of an import": (
        call(call(name("builtins.getattr"), call(name("builtins.__import__"), text("os")), text("system")), RUN),
        "builtins.getattr()(builtins.getattr(builtins.__import__('os'), 'system'), 'touch /tmp/statedict-was-here')",
    ),
    "partial": (
        call(call(name("functools.partial"), SYSTEM), RUN),
        "functools.partial()(functools.partial(os.system), 'touch /tmp/statedict-was-here')",
    ),
    "partial with a state": (
        call(name("functools.partial"), SYSTEM) + b"(" + SYSTEM + b"(" + SYSTEM + RUN + b"t}NtbN0)R",
        COMMAND,
    ),
    "an object that reduces": (
        name("copyreg._reconstructor") + SYSTEM + name("builtins.object") + b"N\x87R",
        "os.system()",
    ),
    "BUILD on a class": (SYSTEM + b"}" + text("__call__") + SYSTEM + b"sb", "os.system"),
    "BUILD on a class that is known": (
        name("collections.OrderedDict") + b"}" + text("x") + b"Nsb",
        "collections.OrderedDict",
    ),
    "BUILD on a tensor's class": (name("torch.Tensor") + b"}" + text("__setstate__") + SYSTEM + b"sb", "torch.Tensor"),
    "BUILD with slots": (
        call(name("a.B")) + b"N}" + text("__class__") + SYSTEM + b"s\x86b",
        "a.B(__class__=os.system)",
    ),
    "BUILD with names of Python's own": (
        call(name("a.B")) + b"}(" + b"".join(text(each) + SYSTEM for each in ("__reduce__", "args", "name")) + b"ub",
        "a.B(__reduce__=os.system, args=os.system, name=os.system)",
    ),
    "BUILD with a state that is no dict": (call(name("a.B")) + b"K\x01b", "a.B(state=1)"),
    "an append that is a call": (call(name("a.B")) + b"(" + RUN + b"e", "a.B(['touch /tmp/statedict-was-here'])"),
    "a set of what it must not hash": (call(name("builtins.set"), b"](]e"), "builtins.set([[]])"),
    "a terabyte": (call(name("builtins.bytearray"), number(10**12)), "builtins.bytearray(1000000000000)"),
    "a terabyte of bytes": (call(name("builtins.bytes"), number(10**12)), "builtins.bytes(1000000000000)"),
    "a list of a range": (
        call(name("builtins.list"), call(name("builtins.range"), number(10**12))),
        "builtins.list(builtins.range(1000000000000))",
    ),
    "a tensor of nothing": (
        call(name("torch._utils._rebuild_tensor_v2"), b"NNNN"),
        "torch._utils._rebuild_tensor_v2(None, None, None, None)",
    ),
    "an array of nothing": (call(name("numpy.core.multiarray._reconstruct")) + b")b", "numpy.ndarray(state=())"),
    "a scalar of nothing": (
        call(name("numpy.core.multiarray.scalar"), b"NN"),
        "numpy.core.multiarray.scalar(None, None)",
    ),
    "a reference to nothing": (b"]Q", "persistent_load([])"),
    "a reference in text": (b"Pos.system\n", "persistent_load('os.system')"),
    "a whole number of 100,000 digits": (b"\x8b" + struct.pack("<i", 41_525) + b"\x7f" * 41_525, "int('332,199 bits')"),
    "a shape that is a bomb": (
        call(name("torch.Size"), b")" + b"2\x86" * 100),
        None,
    ),
    "tuples in tuples": (b")" + b"2\x86" * 100, None),
    "lists in lists": (laughs(100), None),
    "lists that all hold each other": (clique(100), None),
    "objects in objects": (
        b"N" + b"".join(b"q\x000" + call(name("a.B"), b"h\x00h\x00") for _ in range(60)),
        None,
    ),
    "lists too deep": (b"]" * DEEP + b"a" * (DEEP - 1), None),
    "tuples too deep": (b")" + b"\x85" * DEEP, None),
    "dicts too deep": ((b"}" + text("a")) * DEEP + b"N" + b"s" * DEEP, None),
    "objects too deep": (b"N" + (b"q\x000" + name("a.B") + b"h\x00\x85R") * 20_000, None),
}

ERRORS: dict[str, tuple[bytes, type[StatedictError]]] = {
    "an extension's number": (b"\x82\x01", FormatError),
    "an extension's wide number": (b"\x84\x01\x01\x01\x01", FormatError),
    "BUILD on a number": (b"K\x01}b", FormatError),
    "BUILD on a list": (b"]}" + text("x") + b"Nsb", FormatError),
    "BUILD on a dict": (b"}}" + text("x") + b"Nsb", FormatError),
    "a call of a number": (b"K\x01)R", FormatError),
    "a call of a text": (RUN + b")R", FormatError),
    "an object of no class": (b"K\x01)\x81", FormatError),
    "a memo of 2**31": (b"Nr\xff\xff\xff\x7f", LimitError),
    "a memo of 2**32": (b"Nr\xff\xff\xff\xff", LimitError),
    "a memo in text": (b"Np99999999999\n", LimitError),
    "a memo of a googol": (b"Np1" + b"0" * 100 + b"\n", LimitError),
    "a memo that is no number": (b"Npx\n", LimitError),
    "what is not in the memo": (b"h\x63", FormatError),
    "a text of 2**63": (b"\x8d" + b"\xff" * 7 + b"\x7f", FormatError),
    "bytes of 2**64": (b"\x8e" + b"\xff" * 8, FormatError),
    "a bytearray of 2**40": (b"\x96\x00\x00\x00\x00\x00\x01\x00\x00", FormatError),
    "a frame of 2**40": (b"\x95\x00\x00\x00\x00\x00\x01\x00\x00N", LimitError),
    "bytes of a negative length": (b"T\xff\xff\xff\xff", FormatError),
    "a buffer beside the pickle": (b"\x97", FormatError),
    "an opcode that is none": (b"\xff", FormatError),
    "a line without end": (b"I" + b"1" * 3_000_000, FormatError),
    "a number of a million digits": (b"I" + b"1" * 1_000_000 + b"\n", FormatError),
    "a text that is no UTF-8": (b"X\x01\x00\x00\x00\xff", FormatError),
    "a name that is no text": (b"NN\x93", FormatError),
    "nothing to pop": (b"0000000", FormatError),
    "no mark": (b"t", FormatError),
    "a key that cannot be one": (b"}]Ns", FormatError),
    "a call with no tuple": (SYSTEM + b"NR", FormatError),
    "an older protocol's end": (b"", FormatError),
    "too many classes": (b"".join(name(f"a.B{number}") + b"0" for number in range(10_001)) + b"N", LimitError),
    "a list copied over and over": (
        b"](" + b"N" * 10_000 + b"eq\x000" + name("builtins.list") + b"q\x010](" + b"h\x01h\x00\x85R" * 10_000 + b"e",
        LimitError,
    ),
    "a dict copied over and over": (
        b"](" + b"K\x01N\x86" * 10_000 + b"eq\x000" + name("collections.OrderedDict") + b"q\x010]("
        + b"h\x01h\x00\x85R" * 10_000 + b"e",
        LimitError,
    ),
    "a text encoded over and over": (
        text("x" * 10_000) + b"q\x000" + name("_codecs.encode") + b"q\x010](" + b"h\x01h\x00\x85R" * 10_000 + b"e",
        LimitError,
    ),
    "an array's bytes copied over and over": (
        text("x" * 10_000) + b"q\x000" + name("numpy.core.multiarray._reconstruct") + b"q\x010"
        + name("numpy.dtype") + text("u1") + b"\x85Rq\x020"
        + b"](" + b"h\x01)R(K\x01M\x10\x27\x85h\x02\x89h\x00tb" * 10_000 + b"e",
        LimitError,
    ),
    "one state for every tensor": (
        b"](" + b"N" * 10 + b"e0"
        + b"}(" + b"".join(text(str(number)) + b"N" for number in range(10_000)) + b"uq\x000"
        + name("torch.Tensor") + b"q\x010](" + b"h\x01)Rh\x00b" * 10_000 + b"e",
        LimitError,
    ),
    "one tensor and every state": (
        name("torch.Tensor") + b")R}" + text("a") + b"Nsq\x00b" + b"h\x00b" * 200,
        FormatError,
    ),
}  # fmt: skip


def wrapped(body: bytes) -> bytes:
    """A whole pickle whose value is a dict that holds what `body` makes."""
    return b"\x80\x04}" + text("value") + body + b"s."


def parameters(cases: Mapping[str, tuple[Any, ...]], count: int = 2) -> list[Any]:
    """The cases for `pytest.mark.parametrize`, the first `count` values of each; deep ones take their time."""
    import pytest  # here, since a process that watches what is imported takes the cases from this file, too

    slow = {name: [pytest.mark.slow] if name.endswith("too deep") else [] for name in cases}
    return [pytest.param(*case[:count], id=name, marks=slow[name]) for name, case in cases.items()]
