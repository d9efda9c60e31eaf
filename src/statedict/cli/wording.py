"""Errors of the library in the words of the command line: options instead of arguments, a file instead of a model."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

from statedict.errors import StatedictError


@contextmanager
def worded(words: Mapping[str, str]) -> Generator[None]:
    """Whatever StatedictError is raised within has the values of `words` where it would have the keys."""
    try:
        yield
    except StatedictError as error:
        said = str(error)
        for word, option in words.items():
            said = said.replace(word, option)
        error.args = (said,)
        raise
