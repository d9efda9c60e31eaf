"""The picture on the start page shows what the commands print today; `make docs` draws it anew."""

import sys
import xml.etree.ElementTree as ET

import pytest

from docs import picture


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="draws from a pseudo-terminal of Linux")
def test_the_picture_is_current() -> None:
    drawn = ET.parse(picture.PICTURE).iter("{http://www.w3.org/2000/svg}text")
    lines = ["".join(line.itertext()).rstrip() for line in drawn]
    assert lines == [line.rstrip() for line in text_of(picture.svg(picture.session()))]
    assert len(lines) > 20
    assert any("classifier" in line and "92,520" in line for line in lines)


def text_of(svg: str) -> list[str]:
    return ["".join(line.itertext()) for line in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
