"""GGUF files: packed by hand, and written by the reference library."""

import struct
import tempfile
from pathlib import Path
from typing import Any

from gguf import GGUFWriter


def packed(version: int, order: str, metadata: list[tuple[str, int, bytes]], tensors: list[tuple[Any, ...]]) -> bytes:
    """A file by hand: metadata are name, type and bytes; tensors name, dimensions as stored, type and bytes."""
    size = "I" if version == 1 else "Q"

    def text(name: str) -> bytes:
        return struct.pack(order + size, len(name.encode())) + name.encode()

    out = b"GGUF" + struct.pack(f"{order}I{size}{size}", version, len(tensors), len(metadata))
    for name, kind, value in metadata:
        out += text(name) + struct.pack(order + "I", kind) + value
    offset = 0
    for name, dims, kind, data in tensors:
        out += text(name) + struct.pack(f"{order}I{len(dims)}{size}IQ", len(dims), *dims, kind, offset)
        offset += len(data) + -len(data) % 32
    out += bytes(-len(out) % 32)
    return out + b"".join(data + bytes(-len(data) % 32) for *_, data in tensors)


def written(tensors: dict[str, Any], metadata: Any = None, **options: Any) -> bytes:
    """A file by the reference library; a value (array, type) is stored as it is, as blocks of that type."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "written.gguf"
        writer = GGUFWriter(path, "llama", **options)
        if metadata:
            metadata(writer)
        for name, value in tensors.items():
            array, kind = value if isinstance(value, tuple) else (value, None)
            writer.add_tensor(name, array, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()
