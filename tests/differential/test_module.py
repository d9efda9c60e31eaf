"""The same calls on a live PyTorch model and on our tree of it give the same names, values, texts and errors."""

import inspect
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from statedict.tree import containers, parameters
from statedict.tree.module import Module
from tests.differential.live import tree_of


class Mixed(nn.Module):
    """A bit of everything that PyTorch can register."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 3
        self.embed = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_parameter("nothing", None)
        self.register_buffer("table", torch.arange(4.0), persistent=False)
        self.register_buffer("no_buffer", None)
        self.register_module("no_module", None)
        self.scale = nn.Parameter(torch.ones(2, dtype=torch.bfloat16), requires_grad=False)
        self.norm = nn.BatchNorm1d(4)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3)])
        self.blocks.append(self.blocks[0])
        self.choices = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.ModuleList([nn.GELU(), nn.Linear(1, 2)])})
        self.rows = nn.ParameterList([torch.zeros(2, 3), torch.ones(1)])
        self.named = nn.ParameterDict({"left": torch.zeros(2), "right": torch.ones(3)})
        self.complex = nn.Parameter(torch.zeros(2, dtype=torch.complex64))


def shared() -> nn.Module:
    layer = nn.Linear(2, 2)
    return nn.Sequential(layer, nn.ReLU(), layer)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mixed": Mixed,
    "shared": shared,
    "transformer": lambda: nn.Transformer(8, 2, 1, 1, 8, batch_first=True),
    "lazy": lambda: nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d()),
    "leaf": lambda: nn.Linear(2, 3),
    "empty": nn.Module,
    "frozen": lambda: nn.Sequential(nn.Linear(2, 2)).requires_grad_(False).eval(),
}


@pytest.fixture(params=MODELS)
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    model = MODELS[request.param]()
    return model, tree_of(model)


VIEWS: dict[str, Callable[[Any], Any]] = {
    "named_modules": lambda m: m.named_modules(),
    "named_modules, all": lambda m: m.named_modules(remove_duplicate=False),
    "named_modules, prefix": lambda m: m.named_modules(prefix="net"),
    "named_modules, memo": lambda m: m.named_modules(memo={next(m.children(), m)}),
    "modules": lambda m: m.modules(),
    "modules, all": lambda m: m.modules(remove_duplicate=False),
    "children": lambda m: m.children(),
    "named_children": lambda m: m.named_children(),
    "parameters": lambda m: m.parameters(),
    "parameters, own": lambda m: m.parameters(recurse=False),
    "named_parameters": lambda m: m.named_parameters(),
    "named_parameters, all": lambda m: m.named_parameters("net", True, False),
    "buffers": lambda m: m.buffers(),
    "named_buffers": lambda m: m.named_buffers(),
    "named_buffers, own": lambda m: m.named_buffers(recurse=False),
    "state_dict": lambda m: iter(m.state_dict().items()),
    "state_dict, vars": lambda m: iter(m.state_dict(prefix="x.", keep_vars=True).items()),
}


def told(value: Any) -> Any:
    """What both libraries' objects can be compared by."""
    if isinstance(value, tuple):
        return tuple(told(each) for each in value)
    if isinstance(value, nn.Module | Module):
        return repr(value), value.training
    if is_lazy(value):
        return "uninitialised"
    if hasattr(value, "dtype"):
        if value.shape is None:
            return "uninitialised"
        return tuple(value.shape), str(value.dtype).removeprefix("torch."), value.requires_grad
    return value


@pytest.mark.parametrize("view", VIEWS)
def test_views(pair: tuple[Any, Any], view: str) -> None:
    theirs, ours = (VIEWS[view](model) for model in pair)
    assert inspect.isgenerator(ours) == inspect.isgenerator(theirs)
    assert [told(value) for value in ours] == [told(value) for value in theirs]


def test_state_dict_is_the_same(pair: tuple[Any, Any]) -> None:
    theirs, ours = (model.state_dict() for model in pair)
    assert type(ours) is type(theirs)
    assert ours._metadata == theirs._metadata
    for key, value in theirs.items():
        if not is_lazy(value):
            assert torch.equal(ours[key].torch(), value)


def test_identities_are_the_same(pair: tuple[Any, Any]) -> None:
    def sharing(model: Any) -> list[list[int]]:
        groups: dict[int, list[int]] = {}
        views = (model.named_modules(remove_duplicate=False), model.named_parameters(remove_duplicate=False))
        for at, (_, value) in enumerate(entry for view in views for entry in view):
            groups.setdefault(id(value), []).append(at)
        return list(groups.values())

    theirs, ours = pair
    assert sharing(ours) == sharing(theirs)


def test_repr_is_the_same(pair: tuple[Any, Any]) -> None:
    theirs, ours = pair
    assert repr(ours) == repr(theirs)
    assert ours.extra_repr() == theirs.extra_repr()
    assert [ours._get_name(), bool(ours)] == [theirs._get_name(), bool(theirs)]


def outcome(model: Any, call: Callable[[Any], Any]) -> Any:
    """What a call gave: a comparable value, or the error's class and text."""
    try:
        return told(call(model))
    except Exception as error:  # noqa: BLE001  whichever it is, both must raise it
        kind = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
        text = str(error).partition("; the closest")[0]
        for theirs, ours in (("'Mixed' object is", "'Module' object is"), ("type 'Mixed'", "type 'Module'")):
            text = text.replace(theirs, ours)
        return kind.__name__, text.replace("torch.nn.modules.container.", "statedict.tree.containers.")


SAME_CALLS: dict[str, Callable[[Any], Any]] = {
    "submodule": lambda m: m.get_submodule("blocks.1.0"),
    "submodule, itself": lambda m: m.get_submodule(""),
    "submodule, missing": lambda m: m.get_submodule("blocks.9"),
    "submodule, a tensor": lambda m: m.get_submodule("embed.weight"),
    "submodule, an attribute": lambda m: m.get_submodule("size"),
    "parameter": lambda m: m.get_parameter("blocks.1.0.weight"),
    "parameter, None": lambda m: m.get_parameter("head.bias"),
    "parameter, missing": lambda m: m.get_parameter("head.wait"),
    "parameter, a buffer": lambda m: m.get_parameter("norm.running_mean"),
    "parameter, below a tensor": lambda m: m.get_parameter("embed.weight.x"),
    "parameter, empty": lambda m: m.get_parameter(""),
    "buffer": lambda m: m.get_buffer("norm.running_mean"),
    "buffer, None": lambda m: m.get_buffer("no_buffer"),
    "buffer, a parameter": lambda m: m.get_buffer("embed.weight"),
    "buffer, missing": lambda m: m.get_buffer("norm.mean"),
    "attribute": lambda m: m.size,
    "attribute, None module": lambda m: m.no_module,
    "attribute, below": lambda m: m.norm.eps,
    "attribute, missing": lambda m: m.sise,
    "delete": lambda m: delattr(m, "size") or m.size,
    "delete a module": lambda m: delattr(m, "norm") or m.norm,
    "delete a buffer": lambda m: delattr(m, "table") or m.table,
    "delete, missing": lambda m: delattr(m, "missing"),
    "assign None": lambda m: setattr(m, "scale", None) or m.scale,
    "assign a number as a parameter": lambda m: setattr(m, "scale", 3),
    "assign a number as a module": lambda m: setattr(m, "norm", 3),
    "assign a number as a buffer": lambda m: setattr(m, "table", 3),
    "assign": lambda m: setattr(m, "size", 4) or m.size,
    "assign anew": lambda m: setattr(m, "fresh", [1]) or m.fresh,
    "assign a module": lambda m: setattr(m, "scale", m.head) or m.scale,
    "move a parameter": lambda m: setattr(m, "norm", m.scale) or m.norm,
    "register a parameter": lambda m: m.register_parameter("p", m.scale) or m.p,
    "register a buffer": lambda m: m.register_buffer("b", m.table) or list(m.state_dict())[-3:],
    "register a hidden buffer": lambda m: m.register_buffer("b", m.table, persistent=False) or list(m.state_dict()),
    "register a module": lambda m: m.add_module("again", m.head) or m.again,
    "register under a number": lambda m: m.register_parameter(3, None),
    "register under a dot": lambda m: m.register_buffer("a.b", None),
    "register under nothing": lambda m: m.add_module("", None),
    "register a module under a dot": lambda m: m.register_module("a.b", None),
    "register twice": lambda m: m.register_parameter("size", None),
    "register a buffer twice": lambda m: m.register_buffer("scale", None),
    "register a module twice": lambda m: m.add_module("size", None),
    "register a method's name": lambda m: m.add_module("children", None),
    "register no parameter": lambda m: m.register_parameter("p", 3),
    "register no buffer": lambda m: m.register_buffer("b", "x"),
    "register no module": lambda m: m.add_module("m", [1]),
    "set_submodule": lambda m: m.set_submodule("blocks.0.1", m.head) or m.blocks[0][1],
    "set_submodule, strict": lambda m: m.set_submodule("blocks.0.x", m.head, strict=True),
    "set_submodule, nowhere": lambda m: m.set_submodule("", m.head),
    "train": lambda m: [each.training for each in m.train(False).modules()],
    "train, no bool": lambda m: m.train(1),
    "eval": lambda m: m.eval(),
    "requires_grad_": lambda m: [p.requires_grad for p in m.requires_grad_(False).parameters()],
    "apply": lambda m: _visited(m),
    "len": len,
    "index": lambda m: m[0],
    "call a leaf": lambda m: m.rows(),
    "dir": lambda m: [name for name in dir(m) if name in {"embed", "size", "scale", "table", "0", "training"}],
    "dir of a list": lambda m: [name for name in dir(m.blocks) if name.isdigit()],
    "load, nothing": lambda m: m.load_state_dict({}),
    "load, no dict": lambda m: m.load_state_dict(3),
    "load, not strict": lambda m: repr(m.load_state_dict({"x": 3}, strict=False)),
    "load, itself": lambda m: repr(m.load_state_dict(m.state_dict())),
    "load, no tensors": lambda m: m.load_state_dict({**m.state_dict(), "scale": 3}),
}


def _visited(model: Any) -> list[str]:
    seen: list[str] = []
    model.apply(lambda module: seen.append(module._get_name()))
    return seen


@pytest.mark.parametrize("call", SAME_CALLS)
def test_calls(call: str) -> None:
    model = Mixed()
    ours = tree_of(model)
    assert outcome(ours, SAME_CALLS[call]) == outcome(model, SAME_CALLS[call])


INDEXED: dict[str, Callable[[Any], Any]] = {
    "first": lambda m: m.blocks[0],
    "last": lambda m: m.blocks[-1],
    "outside": lambda m: m.blocks[9],
    "outside in front": lambda m: m.blocks[-9],
    "slice": lambda m: m.blocks[1:],
    "slice of a sequential": lambda m: list(m.blocks[1][1:].named_children()),
    "len": lambda m: len(m.blocks),
    "iterate": lambda m: list(m.blocks),
    "assign": lambda m: m.blocks.__setitem__(1, m.head) or m.blocks,
    "delete": lambda m: m.blocks.__delitem__(1) or m.blocks,
    "delete a slice": lambda m: m.blocks.__delitem__(slice(0, 2)) or list(m.blocks.named_children()),
    "insert": lambda m: m.blocks.insert(1, m.head) or m.blocks,
    "insert in a sequential": lambda m: m.blocks[0].insert(-1, m.head),
    "insert outside": lambda m: m.blocks[0].insert(5, m.head),
    "append": lambda m: m.blocks.append(m.head),
    "append no module": lambda m: m.blocks.append(3),
    "extend": lambda m: m.blocks.extend([m.head, m.norm]),
    "extend by nothing": lambda m: m.blocks.extend(3),
    "pop": lambda m: (m.blocks.pop(0), m.blocks),
    "sum": lambda m: operator.add(m.blocks, [m.head]),
    "sum of sequentials": lambda m: m.blocks[0] + m.blocks[1],
    "sum with a list": lambda m: operator.add(m.blocks[0], [m.head]),
    "times": lambda m: 2 * m.blocks[0],
    "times nothing": lambda m: m.blocks[0] * 0,
    "times text": lambda m: m.blocks[0] * "x",
    "times in place": lambda m: m.blocks[0].__imul__(2),
    "key": lambda m: m.choices["b"],
    "key, missing": lambda m: m.choices["x"],
    "keys": lambda m: [*m.choices, *m.choices.keys(), "a" in m.choices, len(m.choices)],
    "items": lambda m: [*m.choices.items(), *m.choices.values()],
    "set key": lambda m: m.choices.__setitem__("c", m.head) or m.choices,
    "pop key": lambda m: (m.choices.pop("a"), m.choices),
    "clear": lambda m: m.choices.clear() or m.choices,
    "update": lambda m: m.choices.update({"z": m.head, "a": m.norm}) or m.choices,
    "update by pairs": lambda m: m.choices.update([("z", m.head)]) or m.choices,
    "update by nothing": lambda m: m.choices.update(3),
    "update by no pairs": lambda m: m.choices.update([3]),
    "update by triples": lambda m: m.choices.update([(1, 2, 3)]),
    "row": lambda m: m.rows[0],
    "row, outside": lambda m: m.rows[2],
    "rows": lambda m: [*m.rows, m.rows[-1], len(m.rows), *m.rows[:1]],
    "append a row": lambda m: m.rows.append(m.scale),
    "append a number": lambda m: m.rows.append(3),
    "extend rows": lambda m: m.rows.extend([m.scale, 4]),
    "append a module": lambda m: m.rows.append(m.head),
    "a number beside the rows": lambda m: setattr(m.rows, "7", 3) or m.rows,
    "extend rows by nothing": lambda m: m.rows.extend(3),
    "named": lambda m: m.named["left"],
    "named, missing": lambda m: m.named["x"],
    "named, a number": lambda m: m.named[3],
    "named keys": lambda m: [*m.named, *m.named.keys(), *reversed(m.named), "left" in m.named, len(m.named)],
    "named items": lambda m: [*m.named.items(), *m.named.values()],
    "named set": lambda m: m.named.__setitem__("x", m.scale) or m.named,
    "named set to a module": lambda m: m.named.__setitem__("x", m.head) or m.named,
    "named get": lambda m: [m.named.get("x"), m.named.get("x", 3), m.named.get("left")],
    "named setdefault": lambda m: (m.named.setdefault("x", m.scale), m.named.setdefault("left", 3), m.named),
    "named pop": lambda m: (m.named.pop("left"), m.named),
    "named popitem": lambda m: (m.named.popitem(), m.named),
    "named clear": lambda m: m.named.clear() or m.named,
    "named update": lambda m: m.named.update({"z": m.scale, "a": m.scale}) or m.named,
    "named copy": lambda m: m.named.copy(),
    "named fromkeys": lambda m: m.named.fromkeys(["p", "q"], 3),
    "named or": lambda m: m.named | m.named,
}


@pytest.mark.parametrize("call", INDEXED)
def test_containers(call: str) -> None:
    model = Mixed()
    ours = tree_of(model)
    assert _flat(outcome(ours, INDEXED[call])) == _flat(outcome(model, INDEXED[call]))


def _flat(value: Any) -> Any:
    """Values in lists told too; `typename` of a class differs between the libraries."""
    return [told(each) for each in value] if isinstance(value, list) else value


LOADS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "prefixed": lambda state: {f"module.{key}": value for key, value in state.items()},
    "renamed": lambda state: {key.replace("blocks", "blocs"): value for key, value in state.items()},
    "misshapen": lambda state: {**state, "embed.weight": torch.zeros(3), "scale": torch.zeros(2, 2)},
    "too many": lambda state: {**state, "head.bias": torch.zeros(5), "size": torch.zeros(1), "norm.x.y": torch.ones(1)},
    "half": lambda state: dict(list(state.items())[::2]),
    "extra state": lambda state: {**state, "norm._extra_state": torch.zeros(1)},
}


@pytest.mark.parametrize("change", LOADS)
def test_load_state_dict_says_what_pytorch_says(change: str) -> None:
    model = Mixed()
    ours, state = tree_of(model), LOADS[change](dict(model.state_dict()))
    with pytest.raises(RuntimeError) as theirs:
        model.load_state_dict(state)
    with pytest.raises(RuntimeError) as mine:
        ours.load_state_dict(state)
    assert str(mine.value).startswith(str(theirs.value))
    if change != "misshapen":
        assert ours.load_state_dict(state, strict=False) == tuple(model.load_state_dict(state, strict=False))


@pytest.mark.parametrize("assign", [False, True])
def test_what_is_not_initialised_is_not_loaded(assign: bool) -> None:
    model, lazy = nn.Linear(2, 3), nn.LazyLinear(3)
    ours = tree_of(model)
    with pytest.raises(RuntimeError) as theirs:
        model.load_state_dict(lazy.state_dict(), assign=assign)
    with pytest.raises(RuntimeError) as mine:
        ours.load_state_dict(tree_of(lazy).state_dict(), assign=assign)
    assert str(mine.value) == str(theirs.value)


@pytest.mark.parametrize("assign", [False, True])
def test_load_state_dict_gives_the_same_values(assign: bool) -> None:
    torch.manual_seed(0)
    model, other = Mixed(), Mixed().double()
    ours = tree_of(model)
    state = {key: torch.randn(value.shape).to(value.dtype) for key, value in other.state_dict().items()}
    assert repr(ours.load_state_dict(state, assign=assign)) == repr(model.load_state_dict(state, assign=assign))
    for key, value in model.state_dict().items():
        assert told(ours.state_dict()[key]) == told(value)
        assert torch.equal(ours.state_dict()[key].torch(), value), key
    assert (ours.head.weight is ours.embed.weight) == (model.head.weight is model.embed.weight)


PAIRS = [
    *((Module, nn.Module, name) for name in (
        *("named_modules", "modules", "named_children", "children", "named_parameters", "parameters"),
        *("named_buffers", "buffers", "get_submodule", "get_parameter", "get_buffer", "set_submodule", "state_dict"),
        *("load_state_dict", "register_module", "add_module", "register_parameter", "register_buffer", "apply"),
        *("requires_grad_", "train", "eval", "extra_repr", "forward"),
    )),
    *((getattr(module, kind), getattr(nn, kind), name) for module, kind in (
        (containers, "Sequential"), (containers, "ModuleList"), (containers, "ModuleDict"),
        (parameters, "ParameterList"), (parameters, "ParameterDict"),
    ) for name in sorted(vars(getattr(nn, kind))) if name[0] != "_" and name not in {"forward", "extra_repr"}),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "method"), PAIRS, ids=lambda value: getattr(value, "__name__", value))
def test_signatures(ours: type, theirs: type, method: str) -> None:
    def parameters_of(kind: type) -> list[tuple[Any, ...]]:
        signature = inspect.signature(getattr(kind, method))
        return [(each.name, each.kind, each.default) for each in signature.parameters.values()]

    assert parameters_of(ours) == parameters_of(theirs)
