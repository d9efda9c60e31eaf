"""From an HDF5 file's groups to an `Index`; of Keras's files with each layer's class and config, and what is no weight.

A config is JSON: `{"class_name": "Dense", "config": {"name": "dense", "units": 2}}`, in which a model's `layers` are
such again. Keras 3 calls a layer's group by its class in snake case, numbered where there are several, and numbers its
variables in a group `vars`; what came before it calls the group by the layer's name, and lists weights by theirs.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from statedict.dtypes import DType
from statedict.errors import FormatError
from statedict.formats._hdf5 import Group
from statedict.index import EMPTY, Index, ModuleInfo, TensorInfo
from statedict.limits import Limits
from statedict.narrow import is_dict, is_list
from statedict.source import Source

_MOVING = frozenset({"moving_mean", "moving_variance", "moving_std", "running_mean", "running_std"})
_NOT_TRAINED = {"batch_normalization": 2, "sync_batch_normalization": 2, "normalization": 3}
"""How many of the variables that Keras 3 numbers are no parameters: the last ones."""
_CELLS = {"LSTM": "LSTMCell", "GRU": "GRUCell", "SimpleRNN": "SimpleRNNCell"}
_WRAPPED = ("layer", "forward_layer", "backward_layer", "cell")
"""Where a config holds another layer's, and Keras 3 calls that layer's group the same."""
_LISTS = re.compile(r"(layer|weight)_names\d*")
_PERHAPS_EMPTY = ("vars", "top_level_model_weights")
"""Groups that Keras makes for variables that there may be."""
_METADATA = ("keras_version", "backend")
_OPTIMIZERS = ("optimizer", "optimizer_weights")


class Layer(NamedTuple):
    """What a config says of one layer."""

    kind: str
    class_name: str
    config: Mapping[str, Any]


def index_of(
    root: Group,
    format_name: str,
    source: Source,
    limits: Limits,
    config: Mapping[str, Any] = EMPTY,
    metadata: Mapping[str, Any] = EMPTY,
) -> Index:
    """The validated index of an HDF5 file, Keras's or not. `config` and `metadata` are what a .keras file adds."""
    attributes = root.attributes
    for name in {"model_config", "training_config"} & attributes.keys():
        if isinstance(attributes[name], str):
            attributes[name] = parsed(attributes[name], f"{source.name}: {name}")
    weights = root.members.get("model_weights")
    top = "model_weights" if isinstance(weights, Group) else ""
    by_name = _listed(weights if isinstance(weights, Group) else root, "layer") is not None
    config = attributes.pop("model_config", config)
    layers = dict(_layers(config, top, by_name)) if is_dict(config) else {}
    naming = _Naming(layers)
    naming.group("", "", root)
    naming.roles()
    metadata = {**{key: attributes[key] for key in _METADATA if key in attributes}, **metadata}
    return Index(format_name, source, naming.tensors, naming.modules, metadata).validate(limits)


def parsed(text: str | bytes, where: str) -> dict[str, Any]:
    """A JSON object. Raises FormatError, naming `where`, for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: is no JSON: {error}; the file is damaged") from None
    if not is_dict(value):
        raise FormatError(f"{where}: is no JSON object; the file is damaged")
    return value


def _layers(config: Mapping[str, Any], path: str, by_name: bool) -> Iterator[tuple[str, Layer]]:
    """The layer that a config describes, and all in it, each with the path of its group."""
    kind, inner = config.get("class_name"), config.get("config")
    if not isinstance(kind, str):
        return
    module = config.get("module")
    own: dict[str, Any] = {key: value for key, value in inner.items() if key != "layers"} if is_dict(inner) else {}
    yield path, Layer(kind, f"{module}.{kind}" if isinstance(module, str) else kind, own)
    prefix = path + "." if path else ""
    if kind in _CELLS and not by_name:
        yield f"{prefix}cell", Layer(_CELLS[kind], _CELLS[kind], {})
    wrapped = {key: own[key] for key in _WRAPPED if is_dict(own.get(key))}
    if kind == "Bidirectional" and "layer" in wrapped:
        forward = wrapped.pop("layer")
        wrapped = {"forward_layer": forward, "backward_layer": forward, **wrapped}
    for key, held in wrapped.items():
        yield from _layers(held, prefix + (_name(held) if by_name else key), by_name)
    used: Counter[str] = Counter()
    layers = inner if is_list(inner) else inner.get("layers") if is_dict(inner) else None
    for held in layers if is_list(layers) else ():
        if not is_dict(held) or (kind == "Sequential" and held.get("class_name") == "InputLayer"):
            continue
        name = _name(held)
        if not by_name:
            snake = _snake(str(held.get("class_name")))
            name = f"layers.{snake}_{used[snake]}" if used[snake] else f"layers.{snake}"
            used[snake] += 1
        yield from _layers(held, prefix + name, by_name)


def _name(config: Mapping[str, Any]) -> str:
    inner = config.get("config")
    name = config.get("name", inner.get("name") if is_dict(inner) else None)
    return str(name)


def _snake(name: str) -> str:
    """A class's name as Keras turns it into the name of a layer: "Conv2DTranspose" to "conv2d_transpose"."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _listed(group: Group, what: str) -> list[str] | None:
    """The names that older Keras lists in a group's attributes, of each "layer" or "weight"; None where it does not."""
    found = [names for key, names in group.attributes.items() if re.fullmatch(what + r"_names\d*", key)]
    return [str(name) for names in found if is_list(names) for name in names] if found else None


class _Naming:
    """The tensors and modules named so far. `layers` is what the config says, by path."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self.tensors: dict[str, TensorInfo] = {}
        self.modules = {path: ModuleInfo(layer.kind, layer.class_name, layer.config) for path, layer in layers.items()}
        self._frozen = {path for path, layer in layers.items() if layer.config.get("trainable") is False}
        self._names: dict[int, str] = {}
        self._groups: dict[int, ModuleInfo] = {}
        self._is_keras = bool(layers)

    def group(self, path: str, name: str, group: Group) -> None:
        """Name a group, and everything in it; a second name of one that is known leads to the same module."""
        if (known := self._groups.get(id(group))) is not None:
            self.modules[path] = known
            return
        known = self.modules.get(path, ModuleInfo())
        info = self.modules[path] = replace(known, attributes={**self._attributes(group), **known.attributes})
        self._groups[id(group)] = info
        prefix = path + "." if path else ""
        if _listed(group, "weight") is not None:
            for where, tensor in _flat(group, set()):
                full = prefix + _weight_name(where, name)
                self._tensor(full if full not in self.tensors else prefix + ".".join(where), tensor)
            return
        order = {each: place for place, each in enumerate(_listed(group, "layer") or ())}
        for name, member in sorted(group.members.items(), key=lambda entry: order.get(entry[0], len(order))):
            if isinstance(member, TensorInfo):
                self._tensor(prefix + name, member)
            elif isinstance(member, Group) and (name not in _PERHAPS_EMPTY or member.members):
                self.group(prefix + name, name, member)

    def _attributes(self, group: Group) -> dict[str, Any]:
        """A group's attributes and those members that are no tensors. Keras 3 notes a layer's name with its `vars`."""
        values = {name: value for name, value in group.attributes.items() if not _LISTS.fullmatch(name)}
        self._is_keras = self._is_keras or len(values) < len(group.attributes)
        variables = group.members.get("vars")
        if isinstance(variables, Group) and "name" in variables.attributes:
            values["name"] = variables.attributes.pop("name")
            self._is_keras = True
        own = {name: value for name, value in group.members.items() if not isinstance(value, Group | TensorInfo)}
        return {**values, **own}

    def _tensor(self, name: str, info: TensorInfo) -> None:
        first = self._names.setdefault(id(info), name)
        if first not in self.tensors:
            self.tensors[first] = info._replace(name=name)
        self.tensors[name] = self.tensors[first]

    def _is_frozen(self, prefix: str) -> bool:
        return any(prefix.startswith(path + "." if path else "") for path in self._frozen)

    def roles(self) -> None:
        """Tell parameters from buffers, where it is Keras that named them."""
        owners: dict[str, list[str]] = {}
        for name in self.tensors if self._is_keras else ():
            owner, _, local = name.rpartition(".")
            owners.setdefault(owner, []).append(local)
        trained: set[int] = set()
        for owner, names in owners.items():
            prefix = owner + "." if owner else ""
            buffers = tuple(name for name in names if _is_buffer(owner, name, names, self.tensors[prefix + name].dtype))
            # Frozen only outwardly: a group of two names has one `ModuleInfo`, which must stay the same object.
            info = self.modules.setdefault(owner, ModuleInfo())
            object.__setattr__(info, "buffers", buffers)
            object.__setattr__(info, "parameters", tuple(name for name in names if name not in buffers))
            trained.update({id(self.tensors[prefix + name]) for name in info.parameters if not self._is_frozen(prefix)})
        made = {id(info): info._replace(requires_grad=True) for info in self.tensors.values() if id(info) in trained}
        self.tensors = {name: made.get(id(info), info) for name, info in self.tensors.items()}


def _is_buffer(owner: str, name: str, names: list[str], dtype: DType) -> bool:
    if owner.partition(".")[0] in _OPTIMIZERS or name in _MOVING or not (dtype.is_floating_point or dtype.is_complex):
        return True
    above, _, last = owner.rpartition(".")
    layer = re.sub(r"_\d+$", "", above.rpartition(".")[2])
    return last == "vars" and name in names[-_NOT_TRAINED.get(layer, 0) :] and layer in _NOT_TRAINED


def _flat(group: Group, seen: set[int]) -> Iterator[tuple[tuple[str, ...], TensorInfo]]:
    """Every tensor below a group, with its path."""
    seen.add(id(group))
    for name, member in group.members.items():
        if isinstance(member, TensorInfo):
            yield (name,), member
        elif isinstance(member, Group) and id(member) not in seen:
            yield from (((name, *where), tensor) for where, tensor in _flat(member, seen))


def _weight_name(where: tuple[str, ...], layer: str) -> str:
    """The name of a weight within its layer: without the layer's own name, and TensorFlow's ":0"."""
    *above, last = where
    own = re.compile(re.escape(layer) + r"(_\d+)?")
    begin = next((place + 1 for place, name in enumerate(above) if own.fullmatch(name)), 0)
    return ".".join((*above[begin:], re.sub(r":\d+$", "", last)))
