"""The pages of a header: nothing is fetched twice, and few requests bring all."""

from statedict.remote.pages import AHEAD, Pages

DATA = bytes(range(256)) * 1024


def test_nothing_is_fetched_twice() -> None:
    asked: list[tuple[int, int]] = []

    def fetch(start: int, end: int) -> bytes:
        asked.append((start, end))
        return DATA[start:end]

    pages = Pages(len(DATA))
    assert pages.read(0, 8, fetch) == DATA[:8]
    assert asked == [(0, AHEAD)]
    assert pages.read(8, AHEAD + 100, fetch) == DATA[8 : AHEAD + 100]
    assert asked[1:] == [(AHEAD, 2 * AHEAD)]
    assert pages.read(100, 2 * AHEAD, fetch) == DATA[100 : 2 * AHEAD]
    assert len(asked) == 2


def test_the_end_brings_what_is_before_it() -> None:
    asked: list[tuple[int, int]] = []

    def fetch(start: int, end: int) -> bytes:
        asked.append((start, end))
        return DATA[start:end]

    pages, size = Pages(len(DATA)), len(DATA)
    assert pages.read(size - 22, size, fetch) == DATA[-22:]
    assert pages.read(size - 5000, size - 10, fetch) == DATA[-5000:-10]
    assert asked == [(size - AHEAD, size)]
    assert pages.read(size - 2 * AHEAD, size, fetch) == DATA[-2 * AHEAD :]
    assert asked[1:] == [(size - 2 * AHEAD, size - AHEAD)]
