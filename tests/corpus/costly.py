"""Files of at most a MiB, built to cost whoever looks into them as much time or memory as can be."""

import bz2
import gzip
import io
import json
import lzma
import struct
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.corpus import archives, models
from tests.corpus.opcodes import call, data, name, pickled, text

MIB = 1 << 20


class Costly(NamedTuple):
    """One such file: how it is called, since some readers go by that, and what makes it."""

    file: str
    make: Callable[[], bytes]


def repeated(before: bytes, each: bytes, after: bytes = b"") -> bytes:
    """As many of `each` as a MiB has room for."""
    return before + each * ((MIB - len(before) - len(after)) // len(each)) + after


# Pickles

_PUT = b"\x94"
_CALLED = name("a", "b") + _PUT
_FORTY = "a." * 37 + "a"


def _get(number: int) -> bytes:
    return b"j" + struct.pack("<I", number)


def names_of_many_parts() -> bytes:
    """Every pair of 400 modules and 400 names of forty parts is imported, seven bytes each."""
    texts = b"".join(text(f"{_FORTY[:37]}{number}") + _PUT + b"0" for number in range(800))
    pairs = b"".join(_get(n % 400) + _get(400 + (n * 7 + n // 400) % 400) + b"\x930" for n in range(78_000))
    return pickled(texts + pairs + b"N")


def attributes_of_attributes() -> bytes:
    """A name that grows by a part with each call of `getattr`."""
    begin = name("builtins", "getattr") + _PUT + text("a") + _PUT + b"0" + b"0" + name("b", "c")
    step = _PUT + b"0"
    parts = [b"h\0" + b"h\x02h\x01\x86R" + b"r\x02\0\0\0"] * 80_000
    return pickled(begin + b"q\x02" + step.join(parts) + b"N", 4)[:MIB]


def calls_of_calls() -> bytes:
    """What a call returned is called again and again, with sixty long texts."""
    begin = _CALLED + b"(" + text("\xff" * 120) * 60 + b"t\x940" + b"0" + b"h\0)R" + _PUT + b"0"
    return repeated(b"\x80\x04" + begin, b"h\x02h\x01R0", b"N.")


def texts_that_are_encoded() -> bytes:
    """One long text, which ten thousands of calls encode for a function that nobody knows."""
    long = text("x" * (MIB // 2)) + _PUT + b"0"
    begin = long + name("_codecs", "encode") + _PUT + b"0" + name("a", "b") + _PUT + b"0"
    return repeated(b"\x80\x04" + begin, b"h\x02h\x01h\0\x85R\x85R0", b"N.")


def bytes_that_are_loaded() -> bytes:
    """The same, for PyTorch's function that loads a storage out of bytes."""
    long = text("x" * (MIB // 2)) + _PUT + b"0"
    begin = long + name("_codecs", "encode") + _PUT + b"0" + name("torch.storage", "_load_from_bytes") + _PUT + b"0"
    return repeated(b"\x80\x04" + begin, b"h\x02h\x01h\0\x85R\x85R0", b"N.")


def bytes_of_bytes() -> bytes:
    begin = name("builtins", "bytes") + _PUT + b"0" + text("x") + b"q\x01"
    chain = b"0h\0h\x01\x85Rq\x01" * 5_000
    return pickled(begin + chain + b"0" + call(name("a", "b"), b"h\x01"))


def pickles_in_pickles_side_by_side() -> bytes:
    """Very many runs of two bytes, each handed to a function that may read it."""
    one = b"\x80\x04" + name("a", "b") + _PUT + b"(" + b"C\x02ab" * 60 + b"tR."
    return repeated(b"", one)


def arrays_within(memo: int = 60_000) -> bytes:
    """A large memo, and then joblib's arrays of four bytes, one after another."""
    wrapper = name("joblib.numpy_pickle", "NumpyArrayWrapper") + _PUT + b"0" + name("numpy", "dtype") + _PUT + b"0"
    state = b"}(" + text("shape") + b"K\1\x85" + text("dtype") + b"h\x01" + text("f4") + b"\x85Ru" + _PUT + b"0"
    fill = b"N\x940" * memo
    each = b"h\0)\x81h\x02b" + b"0000" + b"0"
    return repeated(b"\x80\x04" + wrapper + state + fill, each, b"N.")


def arrays_of_objects() -> bytes:
    """joblib's arrays of objects, each in the one before it."""
    one = name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}("
    one += text("shape") + b"K\x01\x85" + text("dtype") + name("numpy", "dtype") + text("O") + b"\x85Rub"
    return repeated(b"", b"\x80\x04" + one)


def members(count: int, member: bytes, called: str = "a", method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive with very many entries, all of one member."""
    made = archives.zipped((called, member), method=method)
    at, end = made.index(archives.CENTRAL), made.rindex(archives.END)
    entry = made[at:end]
    return (
        made[:at]
        + entry * count
        + struct.pack("<4s4H2LH", archives.END, 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), len(entry) * count, at, 0)
    )


def directories() -> bytes:
    """Sixteen ends, each with a directory of its own that shares all but an entry with the next."""
    made = archives.zipped(("a", b""))
    at, end = made.index(archives.CENTRAL), made.rindex(archives.END)
    entry = made[at:end]
    count = (MIB - 1000) // len(entry)
    out = made[:at] + entry * count
    for number in range(16):
        begin = at + len(entry) * number
        out += struct.pack("<4s4H2LH", archives.END, 0, 0, 1, 1, len(out) - begin, begin, 0)
    return out


def headers_of_long_names() -> bytes:
    """Headers every thirty bytes, each with a name of 64 KiB that begins there and spans those that follow."""
    header = struct.pack("<4s5H3L2H", archives.LOCAL, 20, 0, 0, 0, 0, 0, 0, 0, 0xFFFF, 0)
    count = 11_000
    out = header * count + b"x" * 0x10000
    entries = b"".join(
        struct.pack("<4s6H3L5H2L", archives.CENTRAL, 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 30 * n) + b"a"
        for n in range(count)
    )
    return out + entries + struct.pack("<4s4H2LH", archives.END, 0, 0, count, count, len(entries), len(out), 0)


def deflated(member: bytes, called: str, count: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for number in range(count):
            archive.writestr(f"{number}{called}", member)
    assert len(file.getvalue()) <= MIB
    return file.getvalue()


def packed(compress: Callable[[bytes], bytes], block: bytes, count: int) -> bytes:
    """Very many times the same stream in one archive."""
    stream = compress(block)
    return archives.zipped(*((f"{number}.pkl", stream) for number in range(count)))


def groups_of_groups(depth: int = 40) -> bytes:
    """HDF5's groups, each with two links to the next."""
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w", libver="latest") as opened:
        group: Any = opened.create_group("g")
        for number in range(depth):
            inner = opened.create_group(f"s{number}")
            group["a"] = inner
            group["b"] = inner
            group = inner
        group["w"] = 1.0
    return file.getvalue()


def dicts_of_dicts(depth: int = 60) -> bytes:
    """A pickle of dicts, each with the next one twice."""
    body = b"}" + _PUT + text("w") + name("numpy", "float32") + b"s0"
    for number in range(depth):
        body += b"}" + _PUT + b"(" + text("a") + _get(number) + text("b") + _get(number) + b"u0"
    return pickled(body + _get(depth))


def messages(depth: int = 90) -> bytes:
    """ONNX's graphs in attributes of nodes of graphs."""
    inner = b"\x0a\x02\x22\0" * 10_000
    for _ in range(depth // 3):
        for key in (0x32, 0x2A, 0x0A):  # a graph of an attribute, an attribute of a node, a node of a graph
            inner = bytes([key]) + _varint(len(inner)) + inner
    return b"\x08\x07" + b"\x3a" + _varint(len(inner)) + inner


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def nodes() -> bytes:
    """ONNX's nodes with as little in them as can be."""
    node = b"\x0a\x02\x22\0"
    graph = node * ((MIB - 20) // len(node))
    return b"\x08\x07" + b"\x3a" + _varint(len(graph)) + graph


def headers(count: int = 15_000) -> bytes:
    """A safetensors file of very many tensors of nothing."""
    held = {f"{at}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for at in range(count)}
    header = json.dumps(held, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header)) + header


def template(inside: str) -> Callable[[], bytes]:
    return lambda: models.gguf(inside[: MIB - 400])


_SPACES = " " * MIB
COSTLY: dict[str, Costly] = {
    "operations": Costly("x.pkl", lambda: repeated(b"\x80\x02", b"N0", b"N.")),
    "dicts that are added to": Costly("x.pkl", lambda: repeated(b"\x80\x02}", b"NNs", b".")),
    "marks": Costly("x.pkl", lambda: repeated(b"\x80\x02", b"(", b".")),
    "texts of escapes": Costly("x.pkl", lambda: repeated(b"", b"S'" + b"\\x41" * 1000 + b"'\n0", b"N.")),
    "names of many parts": Costly("x.pkl", names_of_many_parts),
    "attributes of attributes": Costly("x.pkl", attributes_of_attributes),
    "calls of calls": Costly("x.pkl", calls_of_calls),
    "calls of what nobody knows": Costly("x.pkl", lambda: pickled(
        name("a", "b") + b"\x94(" + text("x") * 40 + b"t\x940" + b"h\0h\x01R0" * 170_000 + b"N"
    )),
    "texts that are encoded": Costly("x.pkl", texts_that_are_encoded),
    "bytes that are loaded": Costly("x.pkl", bytes_that_are_loaded),
    "bytes of bytes": Costly("x.pkl", bytes_of_bytes),
    "very many runs of bytes": Costly("x.pkl", pickles_in_pickles_side_by_side),
    "one text read a thousand times": Costly("x.pkl", lambda: pickled(
        data(pickled(b"N0" * 100_000 + b"N")) + b"\x94(" + call(name("a", "b"), b"h\0") * 2000 + b"t"
    )),
    "arrays in a pickle": Costly("x.joblib", arrays_within),
    "arrays of objects": Costly("x.joblib", arrays_of_objects),
    "dicts of dicts": Costly("x.pkl", dicts_of_dicts),
    "entries of one member": Costly("x.zip", lambda: members(20_000, b"x" * 700)),
    "entries of one pickle": Costly("x.pt", lambda: members(20_000, pickled(b"N0" * 300 + b"N"), "a.pkl")),
    "entries of one program": Costly("x.pt", lambda: members(18_000, b"a(b);" * 160, "a.py")),
    "entries of nothing": Costly("x.zip", lambda: members(20_000, b"")),
    "sixteen directories": Costly("x.zip", directories),
    "headers of long names": Costly("x.zip", headers_of_long_names),
    "headers that nothing lists": Costly("x.pt", lambda: archives.torch_zip() + archives.LOCAL * (MIB // 4 - 200)),
    "texts that unpack": Costly("x.zip", lambda: deflated(b'{"layers":[' + b"[]," * (1 << 18) + b"0]}", ".json", 100)),
    "programs that unpack": Costly("x.zip", lambda: deflated(b"a;" * (1 << 17), ".py", 300)),
    "pickles that unpack": Costly("x.pt", lambda: members(1_000, b"\x80\x02" + b"N0" * (12 * MIB), "a.pkl", zipfile.ZIP_DEFLATED)),
    "a stream that unpacks": Costly("x.pkl", lambda: gzip.compress(b"\x80\x02" + b"N0" * (100 * MIB), 6, mtime=0)),
    "a bzip2 stream": Costly("x.pkl", lambda: bz2.compress(b"\x80\x02" + bytes(40 * MIB))),
    "an xz stream": Costly("x.pkl", lambda: lzma.compress(b"\x80\x02" + bytes(200 * MIB), preset=0)),
    "xz streams": Costly("x.zip", lambda: packed(lzma.compress, bytes(16 * MIB), 300)),
    "members of bzip2": Costly("x.zip", lambda: members(4_000, b"\x80\x02" + b"N0" * (8 * MIB), "a.pkl", zipfile.ZIP_BZIP2)),
    "a program": Costly("x.py", lambda: b"a;" * (1 << 18)),
    "a program of brackets": Costly("x.py", lambda: b"(" * 90 + b"a(" * 50 + b")" * 140 + b"\n" + b"-a+a;" * 100_000),
    "a template of spaces": Costly("x.gguf", template("{%" + _SPACES)),
    "a template of escapes": Costly("x.gguf", template("{{ x|attr('a') " + "\\'" * (MIB // 2))),
    "a template of pipes": Costly("x.gguf", template("{{" + "|attr(" * (MIB // 6))),
    "templates that repeat": Costly("x.gguf", lambda: repeated(models.gguf("x"), models.gguf("{{ x|attr('__a') }}" * 100)[24:])),
    "a template of blocks": Costly("x.gguf", template("{{a}}" * (MIB // 5))),
    "a config of tags": Costly("x.yaml", lambda: repeated(b"", b"!!python/a:" + _FORTY.encode() + b"\n")),
    "a config of targets": Costly("x.json", lambda: json.dumps([{"_target_": f"{_FORTY}{n}"} for n in range(10_000)]).encode()),
    "a config of objects": Costly("config.json", lambda: json.dumps(
        {"layers": [{"class_name": "a", "module": f"{_FORTY}{n}"} for n in range(8_000)]}).encode()),
    "a config of lists": Costly("config.json", lambda: b'{"layers":[' + b"[]," * (MIB // 3 - 10) + b"0]}"),
    "messages in messages": Costly("x.onnx", messages),
    "nodes": Costly("x.onnx", nodes),
    "groups of groups": Costly("x.h5", groups_of_groups),
    "tensors of nothing": Costly("x.safetensors", headers),
}  # fmt: skip
"""By what there is too much of."""
