"""URLs as names of checkpoints: which texts are some, what is beside another, and how one is shown without its secrets.

Only what is needed of RFC 3986: fsspec's URLs (`s3://bucket/key`, `hf://org/model`) are not always proper ones.
"""

import os
import re

_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SECRETS = re.compile(r"(?<=://)[^/@]*@")
LOCAL = ("file", "local")
"""Schemes of this machine's own files."""
DOWNLOADED = "simplecache::"
"""What fsspec has before the URL of a file that is to be fetched whole, once."""


def is_url(name: object) -> bool:
    """Whether a name is a URL, and not the path of a file of this machine."""
    return isinstance(name, str | os.PathLike) and bool(_URL.match(os.fspath(name)))


def local_path(url: str) -> str:
    """The path of this machine that a URL of its own names."""
    from urllib.request import url2pathname  # which brings all of HTTP with it

    return url2pathname(url.partition("://")[2])


def scheme(url: str) -> str:
    """What stands before `://`, in small letters."""
    return url.rpartition("::")[2].partition("://")[0].lower()


def shown_url(url: str) -> str:
    """The URL as it may be printed and kept: without user, password, query (which may be a signature) and fragment."""
    bare = _bare(url)
    return without_user(bare) + ("?…" if len(bare) < len(url) and "?" in url else "")


def without_user(url: str) -> str:
    """The same without user and password."""
    return _SECRETS.sub("", url)


def without_secrets(text: str, url: str) -> str:
    """A text of somebody else, on one line and cut, in which whatever is secret of the URL does not stand."""
    text = text.replace(url, shown_url(url))
    query, user = url[len(_bare(url)) :].lstrip("?#"), _SECRETS.search(url)
    said = [piece for pair in query.split("&") for piece in (pair, pair.partition("=")[2])]
    said += [piece for pair in ((user[0].strip("@"),) if user else ()) for piece in (pair, *pair.split(":"))]
    for secret in (query, *said):
        if len(secret) > 3:
            text = text.replace(secret, "…")
    return re.sub(r"(?<=://)[^/\s@]*@", "", re.sub(r"\?[^\s'\")>]+", "?…", " ".join(text.split())))[:200]


def _bare(url: str) -> str:
    """All before the query."""
    if not is_query_scheme(url):
        return url
    return re.split(r"[?#]", url, maxsplit=1)[0]


def is_query_scheme(url: str) -> bool:
    """Whether a `?` in it begins a query; in the key of an object store it is a character like others."""
    return scheme(url) in ("http", "https", "webdav", "dav")


def beside(url: str, name: str) -> str:
    """The URL of the file of that name in the same folder."""
    bare = _bare(url)
    return bare[: bare.rfind("/") + 1] + name + url[len(bare) :]


def within(url: str, name: str) -> str:
    """The URL of the file or folder of that name in a folder."""
    bare = _bare(url)
    return bare.rstrip("/") + "/" + name + url[len(bare) :]


def parent(url: str) -> str:
    """The URL of the folder that a file is in."""
    bare = _bare(url)
    return bare[: bare.rfind("/")] + url[len(bare) :]


def last_part(url: str) -> str:
    """The name of the file or folder."""
    return _bare(url).rstrip("/").rpartition("/")[2]
