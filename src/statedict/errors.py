"""The errors that statedict raises on purpose: each also is the builtin that a caller would think of catching."""


class StatedictError(Exception):
    """What statedict raises when it cannot do what was asked; its text is one line that says what to do next."""

    def __str__(self) -> str:
        text = super().__str__()  # in which a file's own names may stand, with whatever characters
        return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class FormatError(StatedictError, ValueError):
    """A file is not what its format's specification allows: truncated, contradictory or damaged."""


class UnknownFormatError(FormatError):
    """No reader recognises the first bytes of a file."""


class LimitError(FormatError):
    """A file asks for more than `Limits` allows, as hostile files do."""


class ReadError(StatedictError, OSError):
    """The operating system refused to open or to read a source."""


class WriteError(StatedictError, OSError):
    """A file could not be written: no room, no right to, a folder in its place. What was there before still is."""


class MissingExtraError(StatedictError, ImportError):
    """A feature needs a library that is not installed; the text holds the command that installs it."""


class PatternError(StatedictError, ValueError):
    """A name pattern or a condition is malformed, or matches nothing."""
