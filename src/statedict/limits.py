"""The caps that hostile files meet: one frozen value, with defaults that no real checkpoint reaches."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a file may ask for before it is refused with `LimitError`; pass another to `open` to raise a cap.

    Sizes are bytes; the rest are counts.
    """

    header_bytes: int = 256 * 2**20
    """The description of a file: a safetensors header, a pickle, a zip's central directory."""
    names: int = 20_000_000
    """Names of tensors and modules together."""
    name_bytes: int = 2**16
    """One name."""
    depth: int = 200
    """Levels of nesting: of a pickle's containers, of modules in modules."""
    members: int = 10_000_000
    """Members of an archive."""


DEFAULT_LIMITS = Limits()
