"""Objects of S3 and of what speaks like it, through s3fs: each answer has the object's ETag, held against ours."""

import re
from typing import Any

from statedict.extras import needed
from statedict.interop.stores import PlainStore, faults, file_system
from statedict.remote.stores import Changed, Found, Version
from statedict.remote.urls import shown_url

_RANGE = re.compile(r"bytes \d+-\d+/(\d+)")
_EMPTY = ("InvalidRange", "416", "range")


class S3Store(PlainStore):
    """Objects, read by one request each time; endpoint and credentials are those of boto: environment and files."""

    def open(self, url: str, ahead: int) -> Found:
        with faults(url):
            fs, path = file_system(url)
            bucket, key, _ = fs.split_path(path)
            if not key or path.endswith("/"):
                raise IsADirectoryError(url)
            try:
                version, data = self._asked(fs, url, bucket, key, 0, ahead)
            except FileNotFoundError:
                fs.invalidate_cache()
                if fs.isdir(path):
                    raise IsADirectoryError(url) from None
                raise
            return Found(version, data)

    def fetch(self, url: str, start: int, end: int, version: Version) -> bytes:
        with faults(url):
            fs, path = file_system(url)
            bucket, key, _ = fs.split_path(path)
            now, data = self._asked(fs, url, bucket, key, start, end)
            if now != version:
                raise Changed
            return data

    def _asked(self, fs: Any, url: str, bucket: str, key: str, start: int, end: int) -> tuple[Version, bytes]:
        asyn = needed("fsspec.asyn", "remote", f"{shown_url(url)}: lies in S3, which s3fs reads")
        try:
            return asyn.sync(fs.loop, _ask, fs, bucket, key, start, end)
        except OSError as error:
            if start == 0 and any(word in str(error) for word in _EMPTY) and fs.info(f"{bucket}/{key}")["size"] == 0:
                return Version(0, str(fs.info(f"{bucket}/{key}").get("ETag", ""))), b""
            raise


async def _ask(fs: Any, bucket: str, key: str, start: int, end: int) -> tuple[Version, bytes]:
    """The version that the store has, and these bytes of it, or fewer where the connection ended."""
    answer = await fs._call_s3("get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", **fs.req_kw)
    size = _RANGE.fullmatch(answer.get("ContentRange", ""))
    version = Version(int(size[1]) if size else int(answer["ContentLength"]), answer.get("ETag", ""))
    async with answer["Body"] as body:
        return version, (await body.read())[: end - start]
