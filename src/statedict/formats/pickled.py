"""Bare pickles of tensors and arrays, as `pickle.dump` writes them: a state dict of numpy arrays, for example.

A torch tensor in one is `torch.storage._load_from_bytes` of a whole file as `torch.save` writes it.
"""

from typing import Any

from statedict.errors import FormatError, LimitError, UnknownFormatError
from statedict.formats import safetensors, torch_stream, torch_zip
from statedict.formats._graph import index_of
from statedict.formats._pickle import load, read_pickle
from statedict.formats._torch import KNOWN
from statedict.index import Index
from statedict.limits import Limits
from statedict.opaque import Opaque
from statedict.source import BytesSource, Source

_JOBLIB = b"joblib.numpy_pickle"
_BEGINNING = 1 << 16
_PROTOCOLS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


def sniff(head: bytes, source: Source) -> bool:
    """Whether the file begins as a pickle of protocol 2 to 5, and not as PyTorch's older format or safetensors."""
    return head.startswith(_PROTOCOLS) and not torch_stream.sniff(head, source) and not safetensors.sniff(head, source)


def read(source: Source, limits: Limits) -> Index:
    """The index of a pickle. Raises FormatError where it is damaged."""
    try:
        data, _ = read_pickle(source, 0, limits)
    except FormatError:
        if _JOBLIB in source.head(_BEGINNING):
            raise UnknownFormatError(
                f"{source.name}: holds arrays in the midst of a pickle, as joblib writes them, which is not read"
            ) from None
        raise
    left = 2 * len(data)

    def load_from_bytes(inner: Any) -> Any:
        nonlocal left
        if not isinstance(inner, bytes):
            raise TypeError("not bytes")
        left -= len(inner)
        if left < 0:
            raise LimitError(f"{source.name}: its pickle has the same tensor read over and over; it is a bomb")
        held = BytesSource(inner, f"{source.name}: a tensor")
        for reader in (torch_zip, torch_stream):
            if reader.sniff(inner[:64], held):
                return reader.read_graph(held, limits)[0]
        raise ValueError("not a file as torch.save writes it")

    known = {**KNOWN, "torch.storage._load_from_bytes": load_from_bytes}
    graph = load(data, source.name, known, lambda pid: Opaque("persistent_load", (pid,)))
    return index_of(graph, "pickle", source, limits, {})
