"""TorchScript archives: what `torch.jit.save` writes, for servers and for mobile devices (PyTorch's serialization.md).

`ARCHIVE/data.pkl` holds the root module's object: every module is an instance of a class `__torch__.PATH.NAME`, whose
state has parameters, buffers, submodules and other attributes side by side. Which is which is told by the class's text
in `ARCHIVE/code/__torch__/PATH.py`, of which the few lines that declare members are read and none is run.
`constants.pkl` holds the tensors that the code names `CONSTANTS.c0`; `extra/` what the one who saved it added.
"""

import re
from typing import Any

from statedict.formats._graph import index_of
from statedict.formats._script import Declared, declarations
from statedict.formats._stored import StoredTensor
from statedict.formats._zip import holds, read_zip
from statedict.formats.torch_zip import CONSTANTS, prefix_of, records, unpickled
from statedict.index import Index
from statedict.limits import Limits
from statedict.narrow import is_dict, is_tuple
from statedict.opaque import Opaque
from statedict.source import Source

_MANGLED = re.compile(r"(^|\.)(___torch_mangle_\d+|__torch__)(?=\.)")
_MOST_TEXT = 1 << 16


def sniff(head: bytes, source: Source) -> bool:
    """Whether it is a zip archive with constants beside its data."""
    return holds(head, source, CONSTANTS)


def read(source: Source, limits: Limits) -> Index:
    """The index of a TorchScript archive. Raises FormatError where it is damaged, LimitError over `limits`."""
    members = read_zip(source, limits)
    prefix = prefix_of(members, source)
    metadata = records(members, prefix)
    root = unpickled("data", members, prefix, metadata, source, limits)
    constants = unpickled("constants", members, prefix, metadata, source, limits)
    modules = _Modules(_Classes(members, prefix + "code/", source, limits))
    modules.recognise(root)
    if is_tuple(constants) and constants and isinstance(root, Opaque) and is_dict(root.state):
        _add_constants(root.state, constants, frozen=not modules.tensors)
    return index_of(root, "torchscript", source, limits, metadata | _extra(members, prefix))


def demangled(name: str) -> str:
    """The name of a class as Python has it: `__torch__.net.___torch_mangle_3.Net` is `net.Net`."""
    return _MANGLED.sub("", name).lstrip(".")


def _add_constants(state: dict[Any, Any], constants: tuple[Any, ...], frozen: bool) -> None:
    """Show the code's constants at the root: an attribute, as PyTorch counts them neither as parameters nor as buffers.

    A frozen model has no other tensors; its constants are its weights, and shown as a module.
    """
    named = {f"c{number}": constant for number, constant in enumerate(constants)}
    place = state["_modules"] if frozen and "_modules" in state else state
    place.setdefault("CONSTANTS", named)


def _extra(members: dict[str, Source], prefix: str) -> dict[str, Any]:
    """The files that were added (`_extra_files`), as text where they are short, and whether there is bytecode."""
    texts: dict[str, Any] = {}
    for name, member in members.items():
        if name.startswith(prefix + "extra/"):
            short = member.size <= _MOST_TEXT
            texts[name.removeprefix(prefix + "extra/")] = (
                member.read_at(0, member.size).decode("utf-8", "replace") if short else f"{member.size:,} bytes"
            )
    found: dict[str, Any] = {"extra_files": texts} if texts else {}
    return found | ({"bytecode": True} if prefix + "bytecode.pkl" in members else {})


class _Classes:
    """What the archive's code declares of its classes, each file read when one of its classes is met."""

    def __init__(self, members: dict[str, Source], folder: str, source: Source, limits: Limits) -> None:
        self._members = members
        self._folder = folder
        self._where = source.name
        self._limits = limits
        self._files: dict[str, dict[str, Declared]] = {}

    def declared(self, full_name: str) -> Declared | None:
        """What is declared of a class; None where the archive holds no text of it."""
        path, _, name = full_name.rpartition(".")
        if path not in self._files:
            member = self._members.get(f"{self._folder}{path.replace('.', '/')}.py")
            where = f"{self._where}: code of `{path}`"
            self._files[path] = {} if member is None else declarations(member, where, self._limits)
        return self._files[path].get(name)


class _Modules:
    """The modules met so far, each given the three registers by which a pickled `torch.nn.Module` is known."""

    def __init__(self, classes: _Classes) -> None:
        self._classes = classes
        self._views: dict[tuple[Any, ...], StoredTensor] = {}
        self.tensors = 0
        """Parameters and buffers registered."""

    def recognise(self, root: Any) -> None:
        """Turn `root`, and every module below it, into what a pickled module looks like."""
        seen: set[int] = set()
        stack = [root]
        while stack:
            value = stack.pop()
            if not isinstance(value, Opaque) or id(value) in seen:
                continue
            seen.add(id(value))
            declared = self._classes.declared(value.name)
            value.name = demangled(value.name)
            if declared is not None and declared.is_module and is_dict(value.state):
                state = value.state = self._registered(value.state, declared)
                stack.extend(state["_modules"].values())

    def _registered(self, state: dict[Any, Any], declared: Declared) -> dict[str, Any]:
        parameters: dict[str, Any] = {}
        buffers: dict[str, Any] = {}
        modules: dict[str, Any] = {}
        others: dict[str, Any] = dict(declared.constants)
        for name, value in state.items():
            if name in declared.parameters:
                parameters[name] = self._shared(value)
            elif name in declared.buffers:
                buffers[name] = self._shared(value)
            elif self._is_module(value):
                modules[name] = value
            else:
                others[name] = value
        return {**others, "_parameters": parameters, "_buffers": buffers, "_modules": modules}

    def _is_module(self, value: Any) -> bool:
        declared = self._classes.declared(value.name) if isinstance(value, Opaque) else None
        return declared is not None and declared.is_module

    def _shared(self, value: Any) -> Any:
        """The tensor first met with this view of this storage: TorchScript writes a tied one anew under each name."""
        if not isinstance(value, StoredTensor):
            return value
        self.tensors += 1
        if value.storage is None or value.special or value.states:
            return value
        return self._views.setdefault((value.storage, value.offset, value.shape, value.stride, value.dtype), value)
