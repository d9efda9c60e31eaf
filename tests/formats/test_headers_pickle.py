"""The pickles that the C code reads: to the same graph as Python's unpickler under its guards, or not at all."""

import pickletools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statedict import accelerator
from statedict.formats import _pickle, _zip, torch_zip
from statedict.formats._torch import KNOWN
from statedict.limits import DEFAULT_LIMITS
from statedict.source import BytesSource, Source
from tests.formats.asked import REFUSED, asked, changed, changes
from tests.formats.graphs import account
from tests.formats.hostile import CALLS, ERRORS, name, parameters, text, wrapped
from tests.formats.stored import saved
from tests.seed_net import Net

pytestmark = pytest.mark.skipif(accelerator.headers() is None, reason="the C code was not built")


class Archive(NamedTuple):
    """What references in a pickle refer to."""

    members: dict[str, Source]
    folder: str
    source: Source


def taken_apart(data: bytes) -> tuple[bytes, Archive]:
    """The pickle of a file that torch saved, and the archive that it was in."""
    source = BytesSource(data, "net.pt")
    members = _zip.read_zip(source, DEFAULT_LIMITS)
    prefix = torch_zip.prefix_of(members, source)
    pickled = members[prefix + "data.pkl"]
    return pickled.read_at(0, pickled.size), Archive(members, prefix + "data/", source)


def in_c(data: bytes, archive: Archive) -> Any:
    storages = torch_zip._Storages(archive.members, archive.folder, False, archive.source)
    found = _pickle.load_at_once(data, "net.pt", KNOWN, storages.load, storages.known)
    return None if found is None else account(found[0])


def in_python(data: bytes, archive: Archive) -> Any:
    def read() -> Any:
        storages = torch_zip._Storages(archive.members, archive.folder, False, archive.source)
        return account(
            _pickle.load(_pickle.read_pickle(BytesSource(data, "x"), 0, DEFAULT_LIMITS)[0], "x", KNOWN, storages.load)
        )

    return asked(read)


def trained() -> dict[Any, Any]:
    """A training checkpoint: weights, an optimizer's state, and much else."""
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    sum(parameter.sum() for parameter in net.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    return {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "losses": [1.5, -0.0, float("inf"), 2**40, -(2**40), 2**62, None, True, False, (), [], {}],
        "name": "é\U0001f600",
        3: {"a": (1, 2), (1, "b"): [[]]},
        "rng": torch.get_rng_state(),
    }


def odd_tensors() -> dict[str, Any]:
    weight = torch.arange(24.0)
    return {
        "a": weight,
        "tied": weight,
        "view": weight.view(4, 6)[1:, ::2],
        "scalar": torch.tensor(1),
        "empty": torch.empty(0, 3),
        "grad": torch.ones(2, requires_grad=True),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "fp8": torch.ones(2).to(torch.float8_e4m3fn),
        "uint16": torch.ones(2).to(torch.uint16),
        "meta": torch.ones(2, device="meta"),
        "conj": torch.ones(2, dtype=torch.complex64).conj(),
        "sparse": torch.eye(3).to_sparse(),
        "deep": torch.ones([1] * 20),
    }


SAVED = {
    "a state dict": lambda: Net().state_dict(),
    "a dict of tensors": lambda: {str(number): torch.ones(number) for number in range(300)},
    "a whole model": Net,
    "a training checkpoint": trained,
    "tensors of all kinds": odd_tensors,
    "nothing": dict,
    "None": lambda: None,
    "an OrderedDict": lambda: OrderedDict(a=OrderedDict(b=torch.ones(1))),
    "a list": lambda: [torch.ones(1), [torch.ones(2)]],
}


@pytest.mark.parametrize("make", SAVED.values(), ids=SAVED.keys())
def test_what_torch_saves_is_read_in_c_as_python_reads_it(make: Callable[[], Any]) -> None:
    data, archive = taken_apart(saved(make()))
    found = in_c(data, archive)
    assert found is not None
    assert found == in_python(data, archive)


PICKLE, ARCHIVE = taken_apart(saved(odd_tensors() | {"trained": trained()}, pickle_protocol=2))


@pytest.mark.parametrize("body", parameters(CALLS, 1))
def test_a_payload_becomes_what_it_becomes_in_python(body: bytes) -> None:
    found = in_c(wrapped(body), ARCHIVE)
    assert found is None or found == in_python(wrapped(body), ARCHIVE)


@pytest.mark.parametrize("body", [body for body, _ in ERRORS.values()], ids=ERRORS.keys())
def test_a_payload_that_python_refuses_is_left_to_it(body: bytes) -> None:
    assert in_c(wrapped(body), ARCHIVE) is None or in_python(wrapped(body), ARCHIVE) != REFUSED


OURS = {
    "a name that stands for opcodes": name("statedict.frozenset") + b")R",
    "a reference that fills a set": b"](K\x01e(K\x01t\x86" + name("statedict.additems") + b"\x86Q",
    "a memo out of order": b"]q\x01",
    "a memo filled twice": b"]q\x00q\x00",
    "a mark in the way of a call": name("a.B") + b"()R",
    "a mark in the way of a state": name("a.B") + b")R(}b",
    "a mark in the way of a reference": b"](Q",
    "items without values": b"}(K\x01u",
    "items without a dict": b"(K\x01Nu",
    "items of a list": b"](K\x00Nu",
    "a dict that is appended to": b"}Na",
    "an object that is filled": name("a.B") + b")R(K\x01Nu",
    "a text beyond the end": b"X\xff\xff\xff\xff",
    "a number beyond the end": b"\x8a\xff",
    "a number of nine bytes": b"\x8a\x09" + b"\x7f" * 9,
    "a name beyond the end": b"cos\nsystem",
    "a name of nothing": b"cos\n\n",
    "a module of nothing": b"c\nsystem\n",
    "a class that is called as another's": name("a.B") + b"q\x00" + name("a.B") + b"h\x00\x85\x81",
    "a tensor of no storage": name("torch._utils._rebuild_tensor_v2") + b"(NK\x00)\x85)\x89}tR",
}


@pytest.mark.parametrize("body", OURS.values(), ids=OURS.keys())
def test_opcodes_that_do_not_fit(body: bytes) -> None:
    for data in (wrapped(body), b"\x80\x02" + body + b".", body + b".", body):
        found = in_c(data, ARCHIVE)
        assert found is None or found == in_python(data, ARCHIVE)


@given(edits=changes)
@settings(deadline=None, max_examples=200)
def test_damaged_pickles(edits: list[tuple[float, bytes, int]]) -> None:
    data = changed(PICKLE, edits)
    found = in_c(data, ARCHIVE)
    assert found is None or found == in_python(data, ARCHIVE)


OPCODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]
PIECES = [
    *OPCODES,
    *(b"K\x01", b"q\x00", b"q\x01", b"h\x00", b"h\x01", b"}", b"]", b"(", b")", b"\x85", b"R", b"Q"),
    *(text("a"), text("storage"), name("a.B"), name("collections.OrderedDict"), b"\x89"),
    *(name("torch._utils._rebuild_tensor_v2"), name("torch.FloatStorage"), b"K\x00K\x01\x85K\x01\x85"),
    name("torch.FloatStorage") + text("0") + text("cpu") + b"K\x01t",
]


@given(codes=st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=30))
@settings(deadline=None, max_examples=500)
def test_any_opcodes(codes: list[bytes]) -> None:
    data = b"\x80\x02" + b"".join(codes) + b"."
    found = in_c(data, ARCHIVE)
    assert found is None or found == in_python(data, ARCHIVE)


def test_a_pickle_that_ends_too_early() -> None:
    for end in range(0, len(PICKLE), 7):
        assert in_c(PICKLE[:end], ARCHIVE) is None


def test_who_interrupts_is_not_ignored() -> None:
    def interrupted(_pid: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _pickle.load_at_once(b"\x80\x02NQ.", "x", KNOWN, interrupted)
