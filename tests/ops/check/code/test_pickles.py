"""What pickles would do, as expressions; what is safe is told as nothing, whoever wrote it and in whatever protocol."""

import collections
import datetime as dt
import decimal
import io
import pathlib
import pickle
import uuid
from typing import Any

import numpy as np
import pytest
import torch

from statedict.limits import DEFAULT_LIMITS, Limits
from statedict.ops.check.code.act import Act
from statedict.ops.check.code.opcodes import _of_line
from statedict.ops.check.code.pickles import scan
from statedict.ops.check.code.places import look
from statedict.source import BytesSource
from tests.corpus.opcodes import RUN, SYSTEM, call, name, old_name, pickled, text, value


def acts(data: bytes) -> list[Act]:
    return scan(BytesSource(data), "x.pkl", DEFAULT_LIMITS).acts


def expression(body: bytes) -> str:
    (act,) = acts(pickled(body))
    return act.expression


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (SYSTEM, f"os.system('{RUN}')"),
        (call(name("subprocess", "run"), value(["rm", "-rf", {"a": 1}])), "subprocess.run(['rm', '-rf', {'a': 1}])"),
        (call(name("builtins", "eval"), text("x" * 300)), f"builtins.eval('{'x' * 200}'…)"),
        (name("os", "system") + b"0N", "from os import system"),
        (call(name("functools", "partial"), name("os", "system"), text("x")), "functools.partial(os.system, …)"),
        (
            text("o") + text("s") + b"\x86" + text("x") + b"\x93",
            "builtins.getattr(builtins.__import__(('o', 's')), 'x')",
        ),
        (old_name("numpy", "prod") + b"}" + text("a") + b"Nsb", "builtins.vars(numpy.prod).update({'a': None})"),
    ],
)
def test_expressions(body: bytes, said: str) -> None:
    assert said in [act.expression for act in acts(pickled(body))]


def test_an_import_that_is_called_is_told_once_with_the_call() -> None:
    assert len(acts(pickled(SYSTEM))) == 1
    assert [act.count for act in acts(pickled((SYSTEM + b"0") * 5 + b"N"))] == [5]


HARMLESS: dict[str, Any] = {
    "plain": {"a": [1, 2.5, None, True, b"x", "y", (1, 2), {3}, frozenset({4}), 1 << 100, 3j]},
    "containers": [collections.OrderedDict(a=1), collections.Counter("aab"), collections.defaultdict(list, a=[1])],
    "times": [dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.timedelta(1)],
    "others": [decimal.Decimal("1.5"), uuid.UUID(int=3), pathlib.PurePosixPath("a/b")],
    "numpy": {
        "a": np.arange(4.0),
        "b": np.float32(1),
        "c": np.dtype("i4"),
        "d": np.array(["x"]),
        "e": np.zeros((0, 2)),
    },
    "numpy's random": np.random.RandomState(0),
    "numpy's generator": np.random.default_rng(0),
}


@pytest.mark.parametrize("held", HARMLESS.values(), ids=HARMLESS)
@pytest.mark.parametrize("protocol", range(6))
def test_what_is_harmless(held: Any, protocol: int) -> None:
    assert acts(pickle.dumps(held, protocol)) == []


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves(zipped: bool) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.LSTM(4, 4), torch.nn.GELU())
    optimizer = torch.optim.AdamW(net.parameters())
    for held in (net, net.state_dict(), {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}):
        file = io.BytesIO()
        torch.save(held, file, _use_new_zipfile_serialization=zipped)
        assert look(BytesSource(file.getvalue(), "x.pt"), DEFAULT_LIMITS).acts == []


def test_a_class_of_ones_own_is_unknown() -> None:
    class_of_mine = b"cmypackage.nets\nNet\n)\x81}" + text("a") + b"K\x01sb"
    (act,) = acts(pickled(class_of_mine, 2))
    assert (act.grade, act.expression) == ("unknown", "mypackage.nets.Net()")


def test_pickles_in_a_row_are_all_looked_at() -> None:
    found = scan(BytesSource(pickle.dumps(1) + pickle.dumps({"a": 2}) + pickled(SYSTEM)), "x", DEFAULT_LIMITS)
    assert (found.pickles, [act.grade for act in found.acts]) == (3, ["dangerous"])


def test_numbers_are_no_pickles() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        data = random.bytes(4096)
        assert look(BytesSource(data, "0"), DEFAULT_LIMITS, "x.pt: archive/data/0", "archive/data/0").acts == []


def test_as_many_opcodes_as_the_limit_has() -> None:
    data = pickled(b"N0" * 1000 + SYSTEM)
    found = scan(BytesSource(data), "x", Limits(opcodes=100))
    assert [act.grade for act in found.acts] == ["unknown"]
    assert "`Limits.opcodes`" in found.acts[0].reason


def test_texts_of_protocol_0_are_unescaped_as_python_does() -> None:
    texts = ["os.system", "a\n\t\r\\'\"", "\x00\xff", "tab\there"]
    for each in texts:
        line = repr(each.encode("latin-1"))[1:].encode()
        assert _of_line(ord("S"), line) == each
    assert _of_line(ord("S"), rb"'os.sys\x74em\101'") == "os.systemA"
    assert _of_line(ord("S"), rb"'\c\N'") == r"\c\N"  # no escapes: Python warns of them, and keeps them
