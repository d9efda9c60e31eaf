"""From the flat `Index` to the tree: which tensor belongs to which module, in which role, and what is shared."""
# pyright: reportPrivateUsage=false

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, cast

from statedict import collector
from statedict.columns import Columns
from statedict.index import EMPTY, Index, ModuleInfo, TensorInfo
from statedict.narrow import is_number
from statedict.opaque import Opaque
from statedict.tree import layers
from statedict.tree.containers import ModuleDict, ModuleList, Sequential
from statedict.tree.deferred import Recipe, Unread
from statedict.tree.infer import Inference, tell
from statedict.tree.module import Module
from statedict.tree.nested import DictModule, ListModule
from statedict.tree.parameters import ParameterDict, ParameterList
from statedict.tree.roles import DIFFERENTIABLE, is_parameter
from statedict.tree.rows import plain_columns
from statedict.tree.tensor import Buffer, Parameter, Tensor, of_info
from statedict.tree.unbuilt import as_list, unbuilt

_CONTAINERS: dict[str, type[Module]] = {
    "Sequential": Sequential,
    "ModuleList": ModuleList,
    "ModuleDict": ModuleDict,
    "ParameterList": ParameterList,
    "ParameterDict": ParameterDict,
    "dict": DictModule,
    "list": ListModule,
    "tuple": ListModule,
}
_VERSIONS = {"torch.nn.modules.batchnorm": 2, "torch.nn.modules.instancenorm": 2}
"""The `_version` of PyTorch's classes, by Python module, where it is not 1: whole-model files do not hold it."""

_ARCHIVES = frozenset({"torch", "torch legacy", "torch tar", "torchscript", "pt2", "dcp"})
"""Formats whose metadata tells how the archive was written, and nothing of the model in it."""


_MANY = 20_000
"""Tensors from which on it pays to look for blocks that repeat."""


def build(index: Index) -> Module:
    """The tree that a validated index describes. Nothing of the tensors is read."""
    with collector.paused():
        building = _Building()
        for path, info in index.modules.items():
            building.module(path, info)
        columns = plain_columns(index) if len(index.tensors) >= _MANY else None
        if columns is not None:
            _Repeats(columns, index.modules).fill(building)
        else:
            building.tensors(index.tensors.items(), ordered=index.ordered)
        root = building.inference.root = building.finished(ordered=index.ordered)
        if index.metadata and index.format not in _ARCHIVES:
            root.__dict__["metadata"] = index.metadata
        return root


class _Building:
    """The modules made so far, by what stands before their members' names: "" for the root, "features.0." below it."""

    def __init__(self, inference: Any = None) -> None:
        self.inference = inference or Inference()
        self.heads: dict[str, Module] = {}
        self.described: dict[int, Module] = {}
        self.classes: dict[str | None, tuple[type[Module], int | None]] = {}
        self.made: dict[int, Tensor] = {}
        self.convert = partial(_converted, self.made)
        self.unsure: list[Module] = []
        """Modules that may turn out to be lists: known from names alone, or of classes that nobody knows."""
        self.left_out: list[tuple[str, Module]] = []
        """Modules that are not built, each with the head of one that will look the same."""
        self._at("")

    def module(self, path: str, info: ModuleInfo) -> None:
        head = path + "." if path else ""
        module = self.described.get(id(info))
        if module is None:
            module = self.described[id(info)] = self._described(info)
        implied = self.heads.get(head)
        if implied is not None and implied is not module:
            module._modules.update(implied._modules)
        self._attach(head, module)

    def _attach(self, head: str, module: Module) -> None:
        self.heads[head] = module
        if head:
            cut = head.rfind(".", 0, -1) + 1
            self._at(head[:cut])._modules[head[cut:-1]] = module

    def _at(self, head: str) -> Module:
        """The module of that head, made with all above it if nothing told of it before."""
        module = self.heads.get(head)
        if module is None:
            module = Module()
            module.__dict__["_inference"] = self.inference
            self.unsure.append(module)
            self._attach(head, module)
        return module

    def _described(self, info: ModuleInfo) -> Module:
        kind, version = self.classes.get(info.class_name) or self._class(info)
        if info.container:
            kind = _CONTAINERS[info.container]
        module = object.__new__(kind)  # without `__init__`, which costs a third of all
        held = module.__dict__
        held["class_name"], held["version"] = info.class_name, info.version or version
        held["_parameters"] = dict.fromkeys(info.parameters)
        for table, names in (("_buffers", info.buffers), ("_modules", info.modules)):
            if names:
                held[table] = dict.fromkeys(names)
        if info.non_persistent:
            held["_non_persistent_buffers_set"] = set(info.non_persistent)
        if info.attributes:
            held["_attributes"] = Unread(info.attributes, self.convert)
        if info.container:
            held["container"] = info.container
            if info.keys:
                held["_keys"] = info.keys
        # A dict that has a version is the state dict of a module, and not a part of a checkpoint.
        if info.kind or info.class_name or (info.container and not held["version"]):
            held["kind"] = info.kind
        else:
            held["_inference"] = self.inference
        if not info.training:
            held["training"] = False
        if kind is Module and not _is_torchs(info.class_name):
            self.unsure.append(module)
        return module

    def _class(self, info: ModuleInfo) -> tuple[type[Module], int | None]:
        """What a module of that class becomes, and the version of the class; found once for each class."""
        name = info.class_name
        container = layers.container(name)
        version = None if name is None else _VERSIONS.get(name.rpartition(".")[0], 1)
        found = self.classes[name] = (_CONTAINERS[container] if container else Module, version)
        return found

    def leave_out(self, head: str, like: str, module: Module) -> None:
        """Put a module in its place that is not built, and like another that is."""
        cut = head.rfind(".", 0, -1) + 1
        self._at(head[:cut])._modules[head[cut:-1]] = module
        self.left_out.append((like, module))

    def tensors(self, infos: Iterable[tuple[str, TensorInfo]], *, ordered: bool) -> None:
        """Put every tensor into its module; one `TensorInfo` is one `Tensor` under all its names."""
        made, before, module, parameters, buffers = self.made, None, self.heads[""], {}, EMPTY
        for name, info in infos:
            cut = name.rfind(".") + 1
            head, local = name[:cut], name[cut:]
            if head != before:  # neighbours mostly share a module
                before, module = head, self._at(head)
                parameters, buffers = module._parameters, module.__dict__.get("_buffers", EMPTY)
            tensor = made.get(id(info))
            if is_parameter(local, info, parameters, buffers, has_buffers=ordered and bool(buffers)):
                if tensor is None:
                    # A file that tells no roles tells nothing of gradients: a parameter has them, as PyTorch makes it.
                    grad = info.requires_grad or (local not in parameters and info.dtype.name in DIFFERENTIABLE)
                    tensor = made[id(info)] = of_info(Parameter, info, grad)
                parameters[local] = cast("Parameter", tensor)
            else:
                buffers = module._buffers
                buffers[local] = self._buffer(module, local, info) if tensor is None else tensor

    def _buffer(self, module: Module, local: str, info: TensorInfo) -> Tensor:
        buffer = self.made[id(info)] = of_info(Buffer, info, info.requires_grad)
        buffer.persistent = local not in module._non_persistent_buffers_set
        return buffer

    def finished(self, *, ordered: bool) -> Module:
        """The root. Unless the file's order means something, modules named by numbers are put in theirs."""
        for module in self.unsure:
            if _is_list(module):
                module.__class__ = ListModule
                if not ordered:
                    module.__dict__["_modules"] = dict(sorted(module._modules.items(), key=_number))
        for like, module in self.left_out:
            if type(self.heads[like]) is ListModule:
                as_list(module)
        return self.heads[""]


class _Repeats:
    """What is built of a large model whose blocks repeat, and how the rest is, when it is touched."""

    def __init__(self, columns: Columns, modules: Mapping[str, ModuleInfo]) -> None:
        self._columns = columns
        self._modules = modules
        self._built: list[range] = []
        self._kinds: dict[str, tuple[str | None, Any]] | None = None

    def fill(self, building: _Building) -> None:
        """Put all tensors into the tree: into modules, or into blocks that are not built."""
        self._built = list(self._fill(building, (range(len(self._columns)),), "", "", keep=True))

    def _fill(
        self, building: _Building, where: tuple[range, ...], head: str, like: str, *, keep: bool
    ) -> Iterator[range]:
        """Put the tensors there, whose names begin with `head`, into a tree that is like the one at `like`."""
        from statedict.tree.repeated import Block, arranged  # which only large models need

        for piece in arranged(self._columns, where, len(head)):
            if isinstance(piece, Block):
                local = piece.like[len(head) :]
                block = partial(self._block, piece.head, piece.where, like + local)
                recipe = Recipe(partial(block, keep=True), partial(block, keep=False), piece.like)
                building.leave_out(piece.head[len(head) :], local, unbuilt(recipe))
            else:
                building.tensors(self._named(piece, len(head), keep=keep), ordered=False)
                yield piece

    def _named(self, where: range, cut: int = 0, *, keep: bool = True) -> Iterator[tuple[str, TensorInfo]]:
        return ((self._columns.names[at][cut:], self._columns.info(at, keep=keep)) for at in where)

    def _block(self, head: str, where: tuple[range, ...], like: str, *, keep: bool) -> Module:
        with collector.paused():
            inference = _Likeness(self, like)
            building = _Building(inference)
            for _ in self._fill(building, where, head, like, keep=keep):
                pass
            inference.heads = building.heads
            return building.finished(ordered=False)

    def kinds(self) -> dict[str, tuple[str | None, Any]]:
        """What is inferred of what was built at first, by its heads, whatever became of it since."""
        if self._kinds is None:
            from statedict.tree.infer.tree import infer

            building = _Building()
            for path, info in self._modules.items():
                building.module(path, info)
            for piece in self._built:
                building.tensors(self._named(piece), ordered=False)
            infer(building.finished(ordered=False))
            self._kinds = {head: (module.kind, module.quantization) for head, module in building.heads.items()}
        return self._kinds


class _Likeness:
    """The kinds of the modules of a block: those of the block that it is like."""

    def __init__(self, repeats: _Repeats, like: str) -> None:
        self.heads: dict[str, Module] = {}
        self._repeats = repeats
        self._like = like

    def __call__(self) -> None:
        heads, self.heads = self.heads, {}
        for head, module in heads.items():
            tell(module, *self._repeats.kinds()[self._like + head])


def _number(item: tuple[str, object]) -> int:
    return int(item[0])


def _is_torchs(class_name: str | None) -> bool:
    return class_name is not None and class_name.startswith("torch.nn.")


def _is_list(module: Module) -> bool:
    """Whether all that a module holds is named by numbers."""
    held = module.__dict__
    names = held["_parameters"] or held.get("_buffers") or held.get("_modules") or EMPTY
    for name in names:
        if not is_number(name):
            return False  # so for nearly all: their first name says "weight"
    modules, tensors = module._modules, {**module._parameters, **module._buffers}
    return bool(names) and not (modules and tensors) and all(map(is_number, tensors))


def _converted(made: dict[int, Tensor], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes with a `Tensor` for each `TensorInfo` in them, however deep: the one that the tree has, if any."""
    convert = _Conversion(made)
    return {name: convert(value) for name, value in attributes.items()}


class _Conversion:
    """Attributes as a user sees them. Lists and dicts are copied, so that changing them leaves the index alone."""

    def __init__(self, made: dict[int, Tensor]) -> None:
        self.made = made
        self.copies: dict[int, Any] = {}

    def __call__(self, value: Any) -> Any:
        kind = cast("object", type(value))
        if kind is str or kind is int or kind is bool or kind is float or value is None:
            return value
        if kind is TensorInfo:
            return self.made.setdefault(id(value), Tensor(value))
        if id(value) in self.copies:
            return self.copies[id(value)]
        return self._container(value)

    def _container(self, value: Any) -> Any:
        if isinstance(value, dict):
            copied: dict[Any, Any] = OrderedDict() if isinstance(value, OrderedDict) else {}
            self.copies[id(cast("object", value))] = copied
            copied.update((self(key), self(held)) for key, held in cast("dict[Any, Any]", value).items())
            return copied
        if isinstance(value, list):
            row: list[Any] = []
            self.copies[id(cast("object", value))] = row
            row.extend(map(self, cast("list[Any]", value)))
            return row
        if type(value) is tuple:
            return tuple(map(self, cast("tuple[Any, ...]", value)))
        return self._opaque(value) if type(value) is Opaque else value

    def _opaque(self, value: Opaque) -> Opaque:
        copied = self.copies[id(value)] = Opaque(value.name)
        copied.args, copied.kwargs = self(value.args), self(dict(value.kwargs))
        copied.state, copied.items = self(value.state), self(value.items)
        return copied
