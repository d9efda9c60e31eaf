"""A state dict into a live model by PyTorch's own `load_state_dict`, whose copies are put off and then made at once.

Which tensor goes where, versions, hooks, and what is said of keys and shapes: all of it is PyTorch's own doing. It is
handed tensors of which nothing is read (`lazy.Lazy`), and where it copies from one, that is written down. Only when
there is no error are the elements read, into the model's memory.
"""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

import warnings
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from statedict.engine import Progress
from statedict.errors import StatedictError
from statedict.index import TensorInfo
from statedict.interop import values
from statedict.interop.filling import Copy, fill, takes_directly
from statedict.interop.lazy import Lazy, lazy
from statedict.interop.rooms import Room, same_role
from statedict.tree.tensor import Tensor

_LOAD = "_load_from_state_dict"
_OWN = "torch.nn.modules."
"""Where the loading code is defined that only copies: of PyTorch's own modules."""


class Outcome(NamedTuple):
    """What became of each name."""

    missing: list[str]
    unexpected: list[str]
    loaded: list[str]
    untouched: list[str]
    cast: dict[str, tuple[str, str]]


def load(
    net: nn.Module,
    state: Mapping[str, Any],
    *,
    strict: bool,
    room: Room,
    threads: int | None,
    progress: Progress | None,
) -> Outcome:
    """Load the entries of a checkpoint into `net`: `Tensor` and what else it held, by key, with `_metadata`.

    Raises RuntimeError as `load_state_dict` does, before any tensor is changed; StatedictError for sharded models.
    """
    _require_whole(net)
    loading = _Loading(net, room, threads, progress)
    given = OrderedDict((key, loading.given(value)) for key, value in state.items())
    loading.complete(given)
    cast("Any", given)._metadata = getattr(state, "_metadata", None)
    with loading.prepared(), _unwarned():
        keys = net.load_state_dict(given, strict=strict)
    loading.flush()
    loading.settle()
    return loading.outcome(keys, state)


def registered(net: nn.Module) -> Iterator[tuple[str, nn.Module, str, torch.Tensor]]:
    """Each parameter and buffer of a live model under each of its names, with the module that holds it."""
    modules = cast("Iterator[tuple[str, nn.Module]]", net.named_modules(remove_duplicate=False))
    for path, module in modules:
        head = f"{path}." if path else ""
        tables = cast("list[dict[str, torch.Tensor | None]]", [module._parameters, module._buffers])
        for table in tables:
            for name, tensor in table.items():
                if tensor is not None:
                    yield head + name, module, name, tensor


class _Loading:
    """One call of `load_state_dict`: the copies that wait, and what was there before."""

    def __init__(self, net: nn.Module, room: Room, threads: int | None, progress: Progress | None) -> None:
        self._net = net
        self._room = room
        self._threads, self._progress = threads, progress
        self._names = [(name, tensor) for name, _, _, tensor in registered(net)]
        self._before = {id(tensor): (tensor, _version(tensor)) for _, tensor in self._names}
        """The tensors that there were, and how often each had been written to."""
        self._waiting: dict[int, Copy] = {}
        self._from: dict[int, TensorInfo] = {}
        """What each tensor gets, by its `id`."""
        self._handed: set[str] = set()
        """The keys of what modules with loading code of their own were given for themselves."""
        self._at_once = type(net).load_state_dict is not nn.Module.load_state_dict

    def given(self, value: Any) -> Any:
        """What PyTorch is given for an entry."""
        if isinstance(value, Tensor):
            return lazy(value.info, self.put)
        return values.theirs(value)

    def complete(self, given: dict[str, Any]) -> None:
        """Give tied tensors under all of their names, where a file has some: safetensors stores only one."""
        names: dict[Any, list[str]] = {}
        for name, tensor in self._names:
            names.setdefault(_place(tensor), []).append(name)
        for tied in (tied for tied in names.values() if len(tied) > 1):
            known = next((given[name] for name in tied if name in given), None)
            if known is not None:
                given.update((name, known) for name in tied if name not in given)

    def put(self, target: torch.Tensor, source: Lazy) -> None:
        """Copy later; now where the model's own code may look at it, or PyTorch's `copy_` has its own way."""
        self._from[id(target)] = source.info
        if not takes_directly(target):
            target.copy_(source.read())
            return
        self._waiting.pop(id(target), None)  # the last one is the last one
        self._waiting[id(target)] = Copy(target, source.info)
        if self._at_once:
            self.flush()

    def flush(self) -> None:
        """Make the copies that wait; tensors of the meta device are replaced by real ones."""
        if not self._waiting:
            return
        copies, self._waiting = list(self._waiting.values()), {}
        meta = [copy for copy in copies if copy.target.is_meta]
        mapped = {id(copy.target): held for copy in meta if (held := self._room.mapped(copy)) is not None}
        new = {id(copy.target): self._room.like(copy.target) for copy in meta if id(copy.target) not in mapped}
        moved = [copy._replace(target=new.get(id(copy.target), copy.target)) for copy in copies]
        moved = [copy for copy in moved if id(copy.target) not in mapped]
        try:
            fill(moved, threads=self._threads, progress=self._progress)
        except Exception as error:
            if len(new) < len(moved):
                error.add_note("Some of the model's tensors may have been loaded before that: load it again.")
            raise
        self._replace({**mapped, **new})

    def _replace(self, new: Mapping[int, torch.Tensor]) -> None:
        """Register new tensors in the place of old ones, by their `id`, under all of their names."""
        if not new:
            return
        for _, module, name, tensor in list(registered(self._net)):
            if (made := new.get(id(tensor))) is not None:
                self._before.setdefault(id(made), (made, 0))
                self._from[id(made)] = self._from[id(tensor)]
                setattr(module, name, made)

    # Modules with code of their own

    @contextmanager
    def prepared(self) -> Generator[None]:
        """In which own loading code gets real tensors, and hooks that run afterwards find them in place."""
        own: list[nn.Module] = []
        hooked: list[nn.Module] = []
        for module in self._net.modules():
            if not getattr(type(module), _LOAD).__module__.startswith(_OWN) or _LOAD in vars(module):
                own.append(module)
            if module._load_state_dict_post_hooks:
                hooked.append(module)
        with _shadowed(own, self._handing), _first_hook(hooked, self.flush):
            yield

    def _handing(self, module: nn.Module, load: Callable[..., None]) -> Callable[..., None]:
        """The loading code of a module, which is handed real tensors for the keys that it has for itself."""

        def handed(state: dict[str, Any], prefix: str, *rest: Any) -> None:
            below = tuple(f"{prefix}{name}." for name, child in module._modules.items() if child is not None)
            keys = [key for key in state if key.startswith(prefix) and not key.startswith(below)]
            own = {key: value for key in keys if isinstance(value := state[key], Lazy)}
            real = {key: value.read() for key, value in own.items()}
            self._handed.update(keys)
            self._receive(module, {key[len(prefix) :]: value.info for key, value in own.items()})
            state.update(real)
            load(state, prefix, *rest)
            state.update((key, own[key]) for key, each in real.items() if state.get(key) is each)

        return handed

    def _receive(self, module: nn.Module, infos: Mapping[str, TensorInfo]) -> None:
        """Note what the tensors of a module are to get, by local name, and give them memory where they have none."""
        held = {name: tensor for name, tensor in (module._parameters | module._buffers).items() if name in infos}
        present = {name: tensor for name, tensor in held.items() if tensor is not None}
        self._from |= {id(tensor): infos[name] for name, tensor in present.items()}
        self._replace({id(each): self._room.like(each) for each in present.values() if each.is_meta})

    def settle(self) -> None:
        """Read what hooks have put into modules as it was."""
        for module in self._net.modules():
            for table in (module._parameters, module._buffers, vars(module)):
                for name, value in list(table.items()):
                    if isinstance(value, Lazy):
                        cast("dict[str, Any]", table)[name] = same_role(value, value.read().to(self._room.device))

    # What became of it

    def outcome(self, keys: Any, state: Mapping[str, Any]) -> Outcome:
        """What each name of the model has now."""
        loaded: list[str] = []
        untouched: list[str] = []
        casts: dict[str, tuple[str, str]] = {}
        missing = set(keys.missing_keys)
        for name, _, _, tensor in registered(self._net):
            if name in missing or not self._is_written(tensor):
                untouched.append(name)
                continue
            loaded.append(name)
            info = self._from.get(id(tensor))
            kind = str(tensor.dtype).removeprefix("torch.")
            if info is not None and info.dtype.name != kind:
                casts[name] = info.dtype.name, kind
        known = {*loaded, *untouched, *keys.unexpected_keys}
        extra = (key for key in state if key in self._handed or key.rpartition(".")[2] == "_extra_state")
        loaded += [key for key in extra if key not in known]
        return Outcome(keys.missing_keys, keys.unexpected_keys, loaded, untouched, casts)

    def _is_written(self, tensor: torch.Tensor) -> bool:
        version = _version(tensor)
        if version is None:
            return id(tensor) in self._from
        return id(tensor) not in self._before or self._before[id(tensor)][1] != version


def _place(tensor: torch.Tensor) -> Any:
    if is_lazy(tensor) or tensor.layout is not torch.strided or tensor.is_meta or type(tensor) not in _PLAIN:
        return id(tensor)
    return (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else id(tensor)


_PLAIN = (torch.Tensor, nn.Parameter, nn.Buffer)


def _version(tensor: torch.Tensor) -> int | None:
    """How often it was written to; None where PyTorch does not count."""
    if is_lazy(tensor):
        return -1
    return None if tensor.is_inference() else tensor._version


@contextmanager
def _shadowed(modules: list[nn.Module], wrap: Callable[[nn.Module, Callable[..., None]], Any]) -> Generator[None]:
    """In which the modules load by what `wrap` makes of how they load."""
    before = {module: vars(module).get(_LOAD) for module in modules}
    for module in modules:
        vars(module)[_LOAD] = wrap(module, getattr(module, _LOAD))
    try:
        yield
    finally:
        for module, own in before.items():
            if own is None:
                del vars(module)[_LOAD]
            else:
                vars(module)[_LOAD] = own


@contextmanager
def _first_hook(modules: list[nn.Module], call: Callable[[], None]) -> Generator[None]:
    """In which `call` is called before the hooks that modules have for when they are loaded."""
    key = cast("Any", object())

    def hook(module: nn.Module, keys: object) -> None:
        call()

    for module in modules:
        hooks = cast("OrderedDict[Any, Any]", module._load_state_dict_post_hooks)
        hooks[key] = hook
        hooks.move_to_end(key, last=False)
    try:
        yield
    finally:
        for module in modules:
            module._load_state_dict_post_hooks.pop(key, None)


@contextmanager
def _unwarned() -> Generator[None]:
    """In which PyTorch does not say that copying to the meta device does nothing: what waits does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "for .*: copying from a non-meta parameter in the checkpoint to a meta")
        yield


def _require_whole(net: nn.Module) -> None:
    for module in net.modules():
        if type(module).__name__ == "FullyShardedDataParallel":
            raise StatedictError(_sharded("the model is wrapped in FullyShardedDataParallel"))
    for name, _, _, tensor in registered(net):
        if type(tensor).__module__.startswith("torch.distributed."):
            raise StatedictError(_sharded(f"`{name}` is a {type(tensor).__name__}"))


def _sharded(why: str) -> str:
    return (
        f"{why}, of which each process has a part, and `load_into` loads whole models; load it before it is sharded, "
        "or by torch.distributed.checkpoint"
    )
