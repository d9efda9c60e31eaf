"""The caps that hostile files meet: one frozen value, with defaults that no real checkpoint reaches."""

from dataclasses import dataclass, replace


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
    expanded_bytes: int = 2**36
    """A tensor that repeats its elements, as `expand` makes it."""
    opcodes: int = 200_000_000
    """Operations of one pickle that `check` follows."""
    nested: int = 8
    """Archives in archives, and pickles in pickles, that `check` looks into."""
    unpacked_bytes: int = 2**36
    """What one compressed stream may unpack to."""
    ratio: int = 2_000
    """How many times longer than itself it may become, where that is more than 16 MiB; deflate reaches 1,032."""

    def raised(self, text: str) -> "Limits":
        """These limits with others in their place, as `depth=1000,header_bytes=2**30` says.

        Raises ValueError for what is no limit, or no whole number.
        """
        found: dict[str, int] = {}
        for each in filter(None, text.replace(" ", "").split(",")):
            name, _, number = each.partition("=")
            base, _, power = number.partition("**")
            plain = all(part.isascii() and part.isdigit() and len(part) < 20 for part in (base, power or "1"))
            if name not in self.__dataclass_fields__ or not plain or int(power or 1) > 64:
                known = ", ".join(self.__dataclass_fields__)
                raise ValueError(f"`{each}` raises no limit; expected NAME=NUMBER, of {known}")
            found[name] = int(base) ** int(power or 1)
        return replace(self, **found)


DEFAULT_LIMITS = Limits()
