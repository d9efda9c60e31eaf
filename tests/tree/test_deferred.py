import pickle
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.tree.infer.tree import infer

TABLES = {name for name in vars(nn.Module()) if name in {"_buffers", "_modules", "_non_persistent_buffers_set"}}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_is_made_when_it_is_first_asked_for_and_kept(name: str) -> None:
    module = sd.Module()
    assert name not in vars(module)
    table = getattr(module, name)
    assert table == getattr(nn.Module(), name)
    assert getattr(module, name) is table is vars(module)[name]


def test_tables_are_each_modules_own() -> None:
    one, other = sd.Module(), sd.Module()
    one._modules["child"] = sd.Module()  # pyright: ignore[reportPrivateUsage]
    assert [name for name, _ in one.named_children()] == ["child"]
    assert list(other.named_children()) == []


def test_walking_makes_no_tables() -> None:
    model = sd.Module()
    model.add_module("child", sd.Module())
    views: list[Any] = [*model.named_modules(), *model.named_parameters(), *model.named_buffers()]
    assert len(views) == 2
    assert model.state_dict() == {}
    assert vars(model.get_submodule("child")) == {"_parameters": {}}


def test_a_module_without_tables_is_copied_whole() -> None:
    again = pickle.loads(pickle.dumps(sd.Module()))
    again.register_buffer("mean", None)
    assert list(again._buffers) == ["mean"]
    assert list(again.children()) == []


def test_a_thread_that_asks_while_kinds_are_told_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = Event(), Event()

    def slowly(root: sd.Module) -> None:
        begun.set()
        assert ended.wait(30)
        infer(root)

    monkeypatch.setattr("statedict.tree.infer.tree.infer", slowly)
    layer = sd.open({"a.weight": torch.zeros(4, 4), "a.bias": torch.zeros(4)}).get_submodule("a")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: layer.kind)
        assert begun.wait(30)
        second = pool.submit(lambda: layer.kind)
        wait([second], timeout=0.05)
        ended.set()
        assert first.result() == second.result() == "Linear"
