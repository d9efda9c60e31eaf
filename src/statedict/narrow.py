"""What a value that a file brought is, asked so that the type checker knows that its contents may be anything."""

from typing import Any, TypeGuard


def is_dict(value: object) -> TypeGuard[dict[Any, Any]]:
    """Whether `value` is a dict, of anything to anything."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether `value` is a list of anything."""
    return isinstance(value, list)


def is_tuple(value: object) -> TypeGuard[tuple[Any, ...]]:
    """Whether `value` is a tuple of anything."""
    return isinstance(value, tuple)


def is_set(value: object) -> TypeGuard[set[Any] | frozenset[Any]]:
    """Whether `value` is a set of anything."""
    return isinstance(value, set | frozenset)


def is_container(value: object) -> TypeGuard[dict[Any, Any] | list[Any] | tuple[Any, ...]]:
    """Whether `value` is a dict, list or tuple."""
    return isinstance(value, dict | list | tuple)
