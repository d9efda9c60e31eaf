"""From a URL to what lies there: a file, a folder, or a file that is fetched whole."""

import os
import tempfile
from pathlib import Path

from statedict.errors import ReadError
from statedict.remote.files import RemoteFolder, opened
from statedict.remote.patience import PATIENCE
from statedict.remote.stores import Missing
from statedict.remote.urls import DOWNLOADED, LOCAL, is_query_scheme, local_path, scheme, shown_url
from statedict.source import FileSource, Folder, Source


def remote_source(url: str) -> Source:
    """The file or folder at a URL. Raises ReadError where there is none, MissingExtraError where a library is missing.

    What begins with `simplecache::` is fetched whole, into a file that is gone when this process is.
    """
    from statedict.interop.protocols import store_of

    if url.lower().startswith(DOWNLOADED):
        return _downloaded(url[len(DOWNLOADED) :])
    if scheme(url) in LOCAL:
        path = local_path(url)
        return Folder(path) if Path(path).is_dir() else FileSource(path)
    store = store_of(url)
    if is_query_scheme(url) and url.split("?")[0].endswith("/"):
        return RemoteFolder(url, store)
    try:
        return opened(url, store)
    except IsADirectoryError:
        return RemoteFolder(url, store)


def _downloaded(url: str) -> FileSource:
    from statedict.interop.protocols import store_of

    store, name = store_of(url), shown_url(url)
    descriptor, path = tempfile.mkstemp(suffix=Path(name).suffix, prefix="statedict-")
    try:
        os.close(descriptor)
        PATIENCE.until_done(lambda: store.download(url, path), name)
        source = FileSource(path)
    except Missing as error:
        raise ReadError(f"{name}: cannot be opened: {str(error) or 'no such file'}") from None
    finally:
        Path(path).unlink()  # what is open stays
    source.name = name
    return source
