"""The order in which a tree is walked: parents first, shared modules once or under each of their names."""
# pyright: reportPrivateUsage=false

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statedict.tree.module import Module


def descend(root: "Module", head: str, seen: "set[Module]", again: bool) -> "Iterator[tuple[str, Module]]":
    """Yield a module and all below it, each with what stands before its members' names ("features.0.").

    Without recursion, since trees are deep and many. With `again` a module comes under each of its names, though never
    inside itself.
    """
    seen.add(root)
    yield head, root
    path: list[tuple[str, Module, Iterator[tuple[str, Module | None]]]] = [(head, root, iter(root._modules.items()))]
    while path:
        head, parent, children = path[-1]
        for name, module in children:
            if module is None or module in seen:
                continue
            seen.add(module)
            below, held = f"{head}{name}.", module.__dict__  # one that is not built yet is built by asking
            yield below, module
            if inside := held.get("_modules"):
                path.append((below, module, iter(inside.items())))
                break
            if again:
                seen.discard(module)
        else:
            path.pop()
            if again:
                seen.discard(parent)


def require_tree(value: object) -> None:
    """Nothing, for a tree. Raises TypeError for what could be opened as one, a path or a live model, and all else."""
    if not hasattr(value, "_descend"):
        kind = type(value)
        name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        raise TypeError(f"expected a tree, as `statedict.open` returns it, but got `{name}`; open it first")
