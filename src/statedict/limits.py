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
    opcodes: int = 200_000_000
    """Operations of one pickle that `check` follows."""
    nested: int = 8
    """Archives in archives, and pickles in pickles, that `check` looks into."""
    unpacked_bytes: int = 2**36
    """What one compressed stream may unpack to."""
    ratio: int = 2_000
    """How many times longer than itself it may become, where that is more than 16 MiB; deflate reaches 1,032."""


DEFAULT_LIMITS = Limits()
