"""From plans to files on disk: a temporary beside the target, streamed, made durable, then renamed over it."""

from statedict.writing.files import write_file
from statedict.writing.folders import write_folder
from statedict.writing.progress import Progress

__all__ = ["Progress", "write_file", "write_folder"]
