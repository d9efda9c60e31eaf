"""Which store answers for the URLs of a protocol: those of their own for web servers, S3 and the hub, else fsspec's."""

from functools import cache

from statedict.interop.stores import HubStore, PlainStore
from statedict.remote.stores import Store
from statedict.remote.urls import scheme


def store_of(url: str) -> Store:
    """The store of a URL. What it is asked raises MissingExtraError where the library for it is not installed."""
    return _store(scheme(url))


@cache
def _store(protocol: str) -> Store:
    if protocol in ("http", "https"):
        from statedict.interop.http import HttpStore

        return HttpStore()
    if protocol in ("s3", "s3a"):
        from statedict.interop.s3 import S3Store

        return S3Store()
    return HubStore() if protocol == "hf" else PlainStore()
