"""The stores of remote files that fsspec knows: object stores, hubs, servers. Each answer is held against the version.

Credentials are found where fsspec's libraries look for them: environment, configuration files, `~/.netrc`.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from statedict.errors import MissingExtraError, ReadError
from statedict.extras import needed
from statedict.remote.stores import Changed, Found, Missing, Passing, Version
from statedict.remote.urls import shown_url, without_secrets

_TAGS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "blob_id", "checksum", "mtime", "LastModified")
_TIMES = ("last_modified", "updated", "modified", "created")
"""What the libraries call that which changes with a file, the surest first."""
_REFUSED, _ABSENT = (401, 403), (404, 410)
"""The statuses of HTTP that no patience changes."""
_DENIED = "is refused: the credentials that the environment gives do not allow it, or there are none"


def file_system(url: str, **options: Any) -> tuple[Any, str]:
    """Fsspec's file system for a URL, and what it calls the file there. Raises MissingExtraError."""
    fsspec = needed("fsspec", "remote", f"{shown_url(url)}: lies elsewhere, where fsspec reads")
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise MissingExtraError(
            f"{shown_url(url)}: needs a library that is not installed: {without_secrets(str(error), url)}; "
            "`pip install 'statedict[remote]'` brings those for https:// and s3://"
        ) from None
    except ValueError as error:
        raise ReadError(f"{shown_url(url)}: no store is known for it: {without_secrets(str(error), url)}") from None
    return found


@contextmanager
def faults(url: str) -> Generator[None]:
    """Tell what libraries raise as ours: what may pass, what is not there, what is refused."""
    try:
        yield
    except FileNotFoundError:
        raise Missing from None
    except PermissionError:
        raise ReadError(f"{shown_url(url)}: {_DENIED}") from None
    except (ReadError, IsADirectoryError):
        raise
    except Exception as error:
        status = _status(error)
        if status in _ABSENT:
            raise Missing from None
        if isinstance(error, OSError | EOFError) and status not in _REFUSED:
            raise Passing(without_secrets(str(error) or type(error).__name__, url)) from None
        if status in _REFUSED or _is_of_credentials(error):
            raise ReadError(f"{shown_url(url)}: {_DENIED} ({type(error).__name__})") from None
        if type(error).__module__.partition(".")[0] in ("statedict", "builtins"):
            raise
        raise Passing(f"{type(error).__name__}: {without_secrets(str(error), url)}") from None


def _status(error: Exception) -> int | None:
    """The status of HTTP with which a server answered, where the library that raised tells."""
    said = getattr(getattr(error, "response", None), "status_code", None)
    return said if isinstance(said, int) else None


def _is_of_credentials(error: Exception) -> bool:
    return any(word in type(error).__name__ for word in ("Credential", "Auth", "Token", "Permission", "Forbidden"))


class PlainStore:
    """Any file system of fsspec. What was read is of the version, if the file still is afterwards."""

    def open(self, url: str, ahead: int) -> Found:
        with faults(url):
            fs, path = file_system(url)
            found = self.info(fs, path)
            if found.get("type") == "directory":
                raise IsADirectoryError(url)
            version = Version(int(found["size"] or 0), _tag(found))
            return Found(version, self.read(fs, path, 0, min(ahead, version.size), version))

    def fetch(self, url: str, start: int, end: int, version: Version) -> bytes:
        with faults(url):
            fs, path = file_system(url)
            data = self.read(fs, path, start, end, version)
            now = self.info(fs, path)
            if (now["size"], _tag(now)) != version:
                raise Changed
            return data

    def info(self, fs: Any, path: str) -> Mapping[str, Any]:
        """What the store says of a file now."""
        fs.invalidate_cache(path.rpartition("/")[0])
        return fs.info(path)

    def read(self, fs: Any, path: str, start: int, end: int, version: Version, **how: Any) -> bytes:
        """A range of a file, and no more than that."""
        if start == end:
            return b""
        if getattr(fs, "async_impl", False):
            return fs.cat_file(path, start=start, end=end, **how)
        with fs.open(path, "rb", cache_type="none", **how) as file:
            file.seek(start)
            return file.read(end - start)

    def names(self, url: str) -> list[str]:
        return [name + "/" * (entry["type"] == "directory") for name, entry in self._entries(url).items()]

    def sizes(self, url: str) -> dict[str, int]:
        return {name: int(entry["size"]) for name, entry in self._entries(url).items() if entry["type"] == "file"}

    def _entries(self, url: str) -> dict[str, Any]:
        with faults(url):
            fs, path = file_system(url)
            if not fs.isdir(path):
                raise FileNotFoundError(url)
            listed = {entry["name"].rstrip("/"): entry for entry in fs.ls(path, detail=True)}
            return {name.rpartition("/")[2]: entry for name, entry in listed.items() if name != path.rstrip("/")}

    def download(self, url: str, path: str) -> None:
        with faults(url):
            fs, there = file_system(url)
            fs.get_file(there, path)


class HubStore(PlainStore):
    """The Hugging Face hub: what is read is the commit that the branch was at when the file was opened."""

    def open(self, url: str, ahead: int) -> Found:
        with faults(url):
            fs, path = file_system(url)
            commit = self._commit(fs, path)
            found = fs.info(path, revision=commit)
            if found["type"] == "directory":
                raise IsADirectoryError(url)
            version = Version(int(found["size"]), commit)
            return Found(version, self.read(fs, path, 0, min(ahead, version.size), version, revision=commit))

    def fetch(self, url: str, start: int, end: int, version: Version) -> bytes:
        with faults(url):
            fs, path = file_system(url)
            return self.read(fs, path, start, end, version, revision=version.tag)

    def _commit(self, fs: Any, path: str) -> str:
        place = fs.resolve_path(path)
        return _commit_of(place.repo_type, place.repo_id, place.revision)


@cache
def _commit_of(repo_type: str, repo_id: str, revision: str) -> str:
    """The commit that a branch is at: one for all files that this process opens."""
    hub = needed(
        "huggingface_hub", "remote", f"hf://{repo_id}: lies on the Hugging Face hub, which huggingface_hub reads"
    )
    return hub.HfApi().repo_info(repo_id, repo_type=repo_type, revision=revision).sha


def _tag(found: Mapping[str, Any]) -> str:
    """What tells a version, of all that a library says of a file."""
    return next((str(found[key]) for key in (*_TAGS, *_TIMES) if found.get(key)), "")
