"""torch.export's archives: what `torch.export.save` writes, in today's layout and in that of PyTorch 2.1 to 2.7.

Today's: `models/NAME.json` holds the graph; `data/weights/NAME_weights_config.json` says of each name which record
beside it holds its storage, and dtype, sizes and strides; `data/constants/` is alike.
Before: `serialized_state_dict.pt` and `serialized_constants.pt` are `torch.save` files within the archive, and
`serialized_exported_program.json` the graph. In both the graph's signature tells parameters from buffers.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from statedict.errors import FormatError
from statedict.formats import torch_zip
from statedict.formats._described import Described
from statedict.formats._exported import Program, Signature, object_of, raw_tensor
from statedict.formats._stored import Storage, StoredTensor
from statedict.formats._zip import holds, read_zip
from statedict.index import Index, ModuleInfo, TensorInfo, shown
from statedict.limits import Limits
from statedict.narrow import is_dict
from statedict.source import Source

_FORMAT = "archive_format"
_OLD = "serialized_exported_program.json"
_MODEL = re.compile(r"models/(?P<name>.+)\.json")


def sniff(head: bytes, source: Source) -> bool:
    """Whether it is a zip archive that says so, or that holds an exported program."""
    return holds(head, source, *torch_zip.EXPORTED)


def read(source: Source, limits: Limits) -> Index:
    """The index of an exported program, or of several, each then a module. Raises FormatError where it is damaged."""
    archive = _Archive(read_zip(source, limits), source, limits)
    programs = _old(archive) if _OLD in archive.members else _current(archive)
    building = _Building(source, limits)
    for name, program in programs.items():
        building.add(name + "." if len(programs) > 1 else "", program)
    metadata = {name: program.facts for name, program in programs.items()} if len(programs) > 1 else {}
    metadata = metadata or next(iter(programs.values())).facts
    return Index("pt2", source, building.tensors, building.modules(), metadata).validate(limits)


class _Archive(NamedTuple):
    """The members by their names below the archive's folder."""

    members: dict[str, Source]
    source: Source
    limits: Limits

    def member(self, name: str) -> Source:
        """The member of that name. Raises FormatError where there is none."""
        if (found := self.members.get(name)) is None:
            raise FormatError(f"{self.source.name}: the archive lacks `{shown(name)}`; save the program again")
        return found

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object in the member of that name."""
        return object_of(self.member(name), f"{self.source.name}: {shown(name)}", self.limits)

    def unpickled(self, name: str) -> Any:
        """What the `torch.save` file in the member of that name holds."""
        return torch_zip.read_graph(self.member(name), self.limits)[0]


def _current(archive: _Archive) -> dict[str, Program]:
    """The programs of today's layout, by name."""
    prefix = next((name for name in archive.members if name.endswith(_FORMAT)), "").removesuffix(_FORMAT)
    members = {name.removeprefix(prefix): member for name, member in archive.members.items()}
    archive = archive._replace(members=members)
    names = [found["name"] for found in map(_MODEL.fullmatch, members) if found]
    if not names:
        held = ", ".join(map(shown, list(members)[:5])) or "nothing"
        raise FormatError(
            f"{archive.source.name}: holds no exported program, only {held}; open what `torch.export.save` wrote"
        )
    return {name: _program(archive, name) for name in names}


def _program(archive: _Archive, name: str) -> Program:
    graph = archive.json(f"models/{name}.json")
    signature = Signature.of(graph)
    tensors: dict[str, StoredTensor] = {}
    roles: dict[str, bool] = {}
    storages: dict[Any, Storage] = {}
    for folder, kind in (("data/weights/", "weights"), ("data/constants/", "constants")):
        path = f"{folder}{name}_{kind}_config.json"
        if kind == "constants" and path not in archive.members:
            continue
        for full, entry in _entries(archive, path).items():
            found = _payload(archive, folder, full, entry, storages)
            if found is not None:
                tensors[full] = found
                if kind == "weights":
                    roles[full] = entry.get("is_param") is True
    return Program(signature.with_roles(roles), tensors, graph)


def _entries(archive: _Archive, path: str) -> Mapping[str, dict[str, Any]]:
    config = archive.json(path).get("config")
    if not is_dict(config) or not all(is_dict(entry) for entry in config.values()):
        raise FormatError(f"{archive.source.name}: {shown(path)} holds no `config` of names; the file is damaged")
    return config


def _payload(
    archive: _Archive, folder: str, name: str, entry: dict[str, Any], storages: dict[Any, Storage]
) -> StoredTensor | None:
    """The tensor of one entry; None where it is another object, of which nothing is known without running it."""
    path = f"{folder}{entry.get('path_name')}"
    if entry.get("use_pickle"):
        held = archive.unpickled(path) if is_dict(entry.get("tensor_meta")) else None
        return held if isinstance(held, StoredTensor) else None
    where = f"{archive.source.name}: tensor `{shown(name)}`"
    return raw_tensor(archive.member(path), entry.get("tensor_meta"), where, storages)


def _old(archive: _Archive) -> dict[str, Program]:
    """The one program of the layout before PyTorch 2.8."""
    graph = archive.json(_OLD)
    tensors: dict[str, StoredTensor] = {}
    for name in ("serialized_constants.pt", "serialized_state_dict.pt"):
        held = archive.unpickled(name) if name in archive.members or "state" in name else None
        if is_dict(held):
            tensors = {n: t for n, t in held.items() if isinstance(n, str) and isinstance(t, StoredTensor)} | tensors
    return {"model": Program(Signature.of(graph), tensors, graph)}


class _Building:
    """The tensors named so far, and what is to be said of each module."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self.tensors: dict[str, TensorInfo] = {}
        self._described = Described(source.name, limits)
        self._fields: dict[str, dict[str, Any]] = {}

    def add(self, prefix: str, program: Program) -> None:
        """Name everything in a program. A constant is an attribute of its module, as it was before the export."""
        for name, class_name in program.classes.items():
            fields = self._of((prefix + name).rstrip("."))
            if class_name:
                fields |= {"class_name": class_name, "kind": class_name.rpartition(".")[2]}
        signature = program.signature
        for name, tensor in program.tensors.items():
            full = prefix + name
            owner, _, local = full.rpartition(".")
            info = self._described.shared(tensor, full)
            if name in signature.parameters or name in signature.buffers:
                self.tensors[full] = info
                self._of(owner).setdefault("parameters" if name in signature.parameters else "buffers", []).append(
                    local
                )
            else:
                self._of(owner).setdefault("attributes", {})[local] = info
            if name in signature.non_persistent:
                self._of(owner).setdefault("non_persistent", []).append(local)

    def _of(self, owner: str) -> dict[str, Any]:
        return self._fields.setdefault(owner, {})

    def modules(self) -> dict[str, ModuleInfo]:
        """What has been said of the modules."""
        return {
            name: ModuleInfo(
                kind=fields.get("kind"),
                class_name=fields.get("class_name"),
                attributes=fields.get("attributes", {}),
                parameters=tuple(fields.get("parameters", ())),
                buffers=tuple(fields.get("buffers", ())),
                non_persistent=frozenset(fields.get("non_persistent", ())),
            )
            for name, fields in self._fields.items()
        }
