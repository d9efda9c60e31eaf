"""The hash functions that content is told by: one digest of some bytes, by the name of the algorithm."""

from collections.abc import Callable
from functools import cache
from typing import Any

from statedict.errors import MissingExtraError
from statedict.extras import needed

Hash = Callable[[Any], bytes]
"""From bytes, or any buffer, to their digest."""
DEFAULT = "blake3"


@cache
def hash_of(algorithm: str) -> Hash:
    """The function of that name: one of `ALGORITHMS`.

    Raises ValueError for any other name, MissingExtraError where its library is not installed.
    """
    found = ALGORITHMS.get(algorithm)
    if found is None:
        raise ValueError(f"`{algorithm}` is no hash; expected one of {', '.join(ALGORITHMS)}")
    return found()


def _blake3() -> Hash:
    try:
        from blake3 import blake3
    except ImportError as error:
        raise MissingExtraError(
            "blake3 is not installed, though statedict asks for it; install it with `pip install blake3`, or hash by "
            "`sha256`, which is slower and always there"
        ) from error
    return lambda data: blake3(data).digest()


def _xxh3() -> Hash:
    hashed: Hash = needed("xxhash", "hash", "digests by xxh3 need xxhash, which is not installed").xxh3_128_digest
    return hashed


def _sha256() -> Hash:
    from hashlib import sha256

    return lambda data: sha256(data, usedforsecurity=False).digest()


ALGORITHMS: dict[str, Callable[[], Hash]] = {"blake3": _blake3, "xxh3": _xxh3, "sha256": _sha256}
"""BLAKE3 of 256 bits, which nobody can forge; XXH3 of 128 bits, faster, against accidents only; SHA-256."""
