"""URLs as names: what is one, what is beside it, and that no secret of it is shown."""

import pytest

from statedict.remote.urls import beside, is_url, parent, shown_url, within, without_secrets


@pytest.mark.parametrize("name", ["s3://b/k", "https://h/f.pt?x=1", "simplecache::https://h/f", "HF://org/model"])
def test_urls(name: str) -> None:
    assert is_url(name)


@pytest.mark.parametrize("name", ["net.pt", "/tmp/a:b", "a//b", "C:\\net.pt", ":PATTERN", b"s3://b"])
def test_paths(name: object) -> None:
    assert not is_url(name)


def test_places() -> None:
    url = "https://h/a/b.safetensors?token=t"
    assert beside(url, "c.json") == "https://h/a/c.json?token=t"
    assert parent(url) == "https://h/a?token=t"
    assert within(parent(url), "c.json") == "https://h/a/c.json?token=t"
    assert within("s3://b/what?", "c") == "s3://b/what?/c"


def test_what_is_shown() -> None:
    assert shown_url("https://anna:secret@h/f.pt?sig=abcd#x") == "https://h/f.pt?…"
    assert shown_url("s3://b/k?v") == "s3://b/k?v"


def test_texts_of_others() -> None:
    url = "https://anna:secret@h/f.pt?sig=abcd1234"
    said = without_secrets(f"cannot GET {url}\nor https://x:y@z/?k=v: secret abcd1234", url)
    assert "\n" not in said
    for secret in ("anna", "secret", "abcd1234", "k=v", "x:y"):
        assert secret not in said
