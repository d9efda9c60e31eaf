"""`fingerprint`: a digest of each tensor, each module and the whole, the same wherever and however the values lie.

The definition is in docs/commands/hash.md, complete enough to be written anew in any language.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, overload

from statedict import collector, engine
from statedict.index import TensorInfo
from statedict.ops.digests import DEFAULT, hash_of
from statedict.ops.hashing import Recipe, digests, named
from statedict.ops.select import NamedTensor, selected
from statedict.tree.module import Module
from statedict.tree.tensor import Tensor

_TEXT_OF_NONE = "none"
"""What stands for the digest of a tensor without values in that of its module."""
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})


class Print(NamedTuple):
    """What is known of one tensor by one of its names."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None
    digest: str | None
    """The name of the algorithm, a colon, and hexadecimal digits; None where the file has no values of it."""
    reason: str = ""
    """Why there is no digest."""

    def fields(self) -> dict[str, Any]:
        """The same as JSON has it, in manifests and elsewhere."""
        known = {"name": self.name, "dtype": self.dtype, "shape": self.shape, "digest": self.digest}
        return known | ({"reason": self.reason} if self.reason else {})


class Difference(NamedTuple):
    """A name of which two fingerprints do not say the same."""

    name: str
    what: Literal["changed", "missing", "added"]
    """Missing in the later one, or added there."""
    before: Print | None
    after: Print | None


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The digests of what `fingerprint` was given. Two are equal if names and digests are, in whatever order."""

    algorithm: str
    prints: tuple[Print, ...]
    """One for each name of each tensor, in the order of the tree."""

    @cached_property
    def tensors(self) -> dict[str, str]:
        """The digest of each tensor that has values, by name; that of a tied one under each of its names."""
        return {each.name: each.digest for each in self.prints if each.digest is not None}

    @property
    def skipped(self) -> dict[str, str]:
        """Why a tensor has no digest, by name."""
        return {each.name: each.reason for each in self.prints if each.digest is None}

    @property
    def model(self) -> str:
        """The digest of all."""
        return self._of_lines(self._lines[""])

    @cached_property
    def modules(self) -> dict[str, str]:
        """The digest of each module that has tensors in it, by name, in the order of the tree; the whole is ""."""
        return {name: self._of_lines(lines) for name, lines in self._lines.items()}

    @cached_property
    def _lines(self) -> dict[str, list[tuple[str, str]]]:
        """Of each module, the names relative to it and the digests of all tensors in it."""
        found: dict[str, list[tuple[str, str]]] = {"": []}
        for each in self.prints:
            digest, start = each.digest or _TEXT_OF_NONE, 0
            found[""].append((each.name, digest))
            while dot := each.name.find(".", start) + 1:
                found.setdefault(each.name[: dot - 1], []).append((each.name[dot:], digest))
                start = dot
        return found

    def _of_lines(self, lines: list[tuple[str, str]]) -> str:
        """The digest of lines as `statedict hash` prints them, sorted by name."""
        text = "".join(f"{digest}  {name.translate(_ESCAPES)}\n" for name, digest in sorted(lines))
        return named(self.algorithm, hash_of(self.algorithm)(text.encode("utf-8", "surrogatepass")))

    def differences(self, later: "Fingerprint") -> list[Difference]:
        """What differs in a later fingerprint: changed and missing names in the order here, then the added ones.

        Raises ValueError where the two were made by different algorithms.
        """
        if self.algorithm != later.algorithm:
            raise ValueError(f"digests of {self.algorithm} and {later.algorithm} cannot be compared; choose one")
        before, after = ({each.name: each for each in of.prints} for of in (self, later))
        found = [
            Difference(name, "changed" if name in after else "missing", each, after.get(name))
            for name, each in before.items()
            if name not in after or after[name][1:4] != each[1:4]
        ]
        return found + [Difference(name, "added", None, each) for name, each in after.items() if name not in before]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and self.model == other.model

    def __hash__(self) -> int:
        return hash(self.model)

    def __str__(self) -> str:
        return self.model

    def __repr__(self) -> str:
        return f"Fingerprint({self.model!r}, {len(self.prints)} tensors)"


@overload
def fingerprint(x: Tensor, /, *, algorithm: str = ..., threads: int | None = ...) -> str: ...
@overload
def fingerprint(
    x: Module,
    /,
    *patterns: str,
    where: str | None = ...,
    algorithm: str = ...,
    executor: Executor | None = ...,
    threads: int | None = ...,
    progress: engine.Progress | None = ...,
) -> Fingerprint: ...
def fingerprint(
    x: Module | Tensor, /, *patterns: str, where: str | None = None, algorithm: str = DEFAULT, **how: Any
) -> Fingerprint | str:
    """The digest of a tensor, or those of a module, of all in it and of its tensors: of what `state_dict` would hold.

    Equal digests are equal element types, shapes and elements, bit for bit, whatever the format, the files, the order,
    strides or byte order. Of a module, `patterns` and `where` choose tensors, as in `select`. Every byte is read once,
    by `threads` or on an `executor`; memory stays at a few MiB a thread. `algorithm` is "blake3" (no two tensors of
    equal digest can be made), "xxh3" (faster, against accidents only) or "sha256".

    Raises TypeError or ValueError for a single tensor without values; those of a module are in `skipped`. Raises
    PatternError as `select` does, ValueError for another algorithm, MissingExtraError where its library is missing.
    """
    if isinstance(x, Tensor):
        return digests([Recipe(x.info)], algorithm, **how)[0]
    entries = [entry for entry in selected(x, patterns, where) if _is_kept(entry)]
    return _of_entries(((entry.name, entry.tensor) for entry in entries), algorithm, **how)


def fingerprints(tensors: Mapping[str, Tensor], *, algorithm: str = DEFAULT, **how: Any) -> dict[str, str]:
    """The digest of each tensor by its name, those without values left out; each is read once. See `fingerprint`."""
    return _of_entries(tensors.items(), algorithm, **how).tensors


def _is_kept(entry: NamedTensor) -> bool:
    left_out = entry.owner.__dict__.get("_non_persistent_buffers_set")
    return not left_out or entry.name.rpartition(".")[2] not in left_out


def _of_entries(entries: Iterable[tuple[str, Tensor]], algorithm: str, **how: Any) -> Fingerprint:
    known: dict[int, Recipe | str] = {}
    infos = [(name, tensor.info) for name, tensor in entries]
    with collector.paused():
        for _, info in infos:
            if id(info) not in known:
                known[id(info)] = _recipe(info)
    recipes = {key: recipe for key, recipe in known.items() if isinstance(recipe, Recipe)}
    found = dict(zip(recipes, digests(recipes.values(), algorithm, **how), strict=True))
    return Fingerprint(algorithm, tuple(_print(name, info, known[id(info)], found) for name, info in infos))


def _recipe(info: TensorInfo) -> Recipe | str:
    """How to hash a tensor; the reason, where it has no values that could be."""
    try:
        return Recipe(info)
    except (TypeError, ValueError) as error:
        return str(error)


def _print(name: str, info: TensorInfo, recipe: Recipe | str, found: Mapping[int, str]) -> Print:
    if isinstance(recipe, str):
        return Print(name, info.dtype.name, info.shape, None, recipe)
    return Print(name, recipe.dtype.name, recipe.shape, found[id(info)])
