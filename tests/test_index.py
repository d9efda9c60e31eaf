"""What a format's reader must return, and what is refused."""

import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from statedict.dtypes import DTYPES
from statedict.errors import FormatError, LimitError
from statedict.index import PLAIN, Encoding, Index, ModuleInfo, TensorInfo, contiguous, shown, span
from statedict.limits import Limits
from statedict.source import BytesSource, Extent
from tests.numbers import without_headers

SOURCE = BytesSource(bytes(100), "net.pt")
F32 = DTYPES["float32"]
SHAPE = (2, 3)


def index(*tensors: TensorInfo, modules: tuple[str, ...] = ()) -> Index:
    return Index("test", SOURCE, {info.name: info for info in tensors}, {name: ModuleInfo() for name in modules})


def info(shape: tuple[int, ...] | None = (2, 3), offset: int = 0, size: int = 24, **others: object) -> TensorInfo:
    return TensorInfo("a.w", F32, shape, Extent(SOURCE, offset, size))._replace(**others)


@pytest.fixture(params=["in C", "in Python"])
def proving(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test for each way of proving."""
    if request.param == "in Python":
        without_headers(monkeypatch)


VALID = {
    "a matrix": info(),
    "at the end": info(offset=76),
    "a scalar": info((), 3, 4),
    "nothing": info((0, 3), 100, 0),
    "strided": info((3, 2), 0, 24, stride=(1, 3)),
    "expanded": info((5, 3), 0, 12, stride=(0, 1)),
    "meta": info(extent=None),
    "uninitialised": info(shape=None, extent=None),
    "in a storage": info(storage=Extent(SOURCE, 0, 100), offset=76),
    "half bytes": info((3,), 0, 2, dtype=DTYPES["f4"]),
    "parts": info(extent=None, encoding=Encoding(parts={"a": info()})),
}


@pytest.mark.parametrize("tensor", VALID.values(), ids=VALID.keys())
@pytest.mark.usefixtures("proving")
def test_what_is_right_stays_as_it_is(tensor: TensorInfo) -> None:
    made = index(tensor)
    assert made.validate() is made


INVALID = {
    "beyond the end": (info(offset=77), "`a.w` ends at byte 101, but net.pt has 100; it is truncated"),
    "before the beginning": (info(offset=-1), "ends at byte 23"),
    "too few bytes": (info(size=23), "takes 23 bytes, but (2, 3) of float32 need 24"),
    "too many bytes": (info(size=25), "takes 25 bytes"),
    "a negative size": (info((-2, -3)), "impossible shape (-2, -3)"),
    "a negative size without bytes": (info((-2, 3), extent=None), "impossible shape"),
    "65 dimensions": (info((1,) * 65, size=4), "impossible shape"),
    "a size beyond counting": (info((1 << 63, 0), size=0), "impossible shape"),
    "a stride too few": (info(stride=(1,)), "the stride (1,), which does not fit its shape (2, 3)"),
    "a negative stride": (info(stride=(-3, 1)), "does not fit"),
    "a stride too wide": (info(stride=(4, 1)), "takes 24 bytes, but (2, 3) of float32 need 28"),
    "beyond its storage": (
        info(storage=Extent(SOURCE, 0, 23)),
        "reaches to byte 24 of a storage of 23; the file is damaged",
    ),
    "before its storage": (info(storage=Extent(SOURCE, 4, 90)), "storage"),
    "a bad part": (info(extent=None, encoding=Encoding(parts={"a": info(size=1)})), "takes 1 bytes"),
}


@pytest.mark.parametrize(("tensor", "text"), INVALID.values(), ids=INVALID.keys())
@pytest.mark.usefixtures("proving")
def test_what_is_wrong_is_told(tensor: TensorInfo, text: str) -> None:
    with pytest.raises(FormatError, match=r"^net\.pt: tensor `a\.w` ") as caught:
        index(tensor).validate()
    assert text in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


infos = st.sampled_from([*VALID.values(), *(tensor for tensor, _ in INVALID.values())])


@given(
    st.lists(
        infos
        | st.builds(info, st.tuples(st.integers(0, 5), st.integers(0, 5)), st.integers(-1, 101), st.integers(0, 40))
    ),
    st.booleans(),
)
def test_the_c_code_finds_what_python_finds(tensors: list[TensorInfo], one_shape: bool) -> None:
    named = [
        tensor._replace(name=f"t{at}", **({"shape": SHAPE} if one_shape else {})) for at, tensor in enumerate(tensors)
    ]
    said: list[str] = []
    for in_c in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not in_c:
                without_headers(patch)
            try:
                index(*named).validate()
            except FormatError as error:
                said.append(str(error))
            else:
                said.append("")
    assert said[0] == said[1]


def test_limits_of_names() -> None:
    tensor = info()
    for limits, text in (
        (Limits(names=1), "more than 1 names"),
        (Limits(name_bytes=2), "has 3 characters; `Limits.name_bytes` allows 2"),
        (Limits(depth=0), "is nested 1 deep; `Limits.depth` allows 0"),
    ):
        with pytest.raises(LimitError, match=text):
            index(tensor, modules=("a",)).validate(limits)
    index(tensor, modules=("a",)).validate(Limits(names=2, name_bytes=3, depth=1))


def test_a_name_with_line_ends_takes_one_line() -> None:
    with pytest.raises(FormatError) as caught:
        index(info(name="a\nb" * 100, size=1)).validate()
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "text"), [("a.w", "a.w"), ("ключ", "ключ"), ("a\n\t", r"a\n\t"), ("x" * 100, "x" * 80 + "…")]
)
def test_names_as_errors_show_them(name: str, text: str) -> None:
    assert shown(name) == (text if text.isprintable() else text.encode("unicode_escape").decode())


def test_sizes() -> None:
    assert (info().numel, info().nbytes) == (6, 24)
    assert (info(()).numel, info(()).nbytes) == (1, 4)
    assert (info(shape=None, extent=None).numel, info(shape=None, extent=None).nbytes) == (0, 0)
    sparse = info((1000, 1000), extent=None, encoding=Encoding(parts={"a": info(), "b": info()}))
    assert (sparse.numel, sparse.nbytes) == (1_000_000, 48)


def test_tensors_print_short() -> None:
    assert repr(info(encoding=Encoding(attributes={"me": info()}))) == "TensorInfo('a.w', float32, (2, 3))"


@pytest.mark.parametrize("tensor", [info(), info(encoding=Encoding(byteorder="big", kind="a.B"))], ids=["plain", "not"])
def test_infos_travel_to_other_processes(tensor: TensorInfo) -> None:
    again = pickle.loads(pickle.dumps(tensor))
    assert again[:3] == tensor[:3]
    assert again.dtype is F32
    assert (again.encoding is PLAIN) == (tensor.encoding is PLAIN)
    assert (again.encoding.byteorder, again.encoding.kind) == (tensor.encoding.byteorder, tensor.encoding.kind)


shapes = st.lists(st.integers(0, 5), max_size=5).map(tuple)


@given(shape=shapes)
def test_contiguous_is_torchs_stride(shape: tuple[int, ...]) -> None:
    assert contiguous(shape) == torch.empty(shape).stride()
    assert span(shape, contiguous(shape)) == math.prod(shape)


@given(shape=shapes, data=st.data())
def test_span_reaches_to_the_last_element(shape: tuple[int, ...], data: st.DataObject) -> None:
    stride = tuple(data.draw(st.integers(0, 9)) for _ in shape)
    view = torch.arange(400).as_strided(shape, stride)
    assert span(shape, stride) == (int(view.max()) + 1 if view.numel() else 0)
