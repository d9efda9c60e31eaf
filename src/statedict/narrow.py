"""What a value that a file brought is, asked so that the type checker knows that its contents may be anything."""

from typing import Any, TypeGuard

_LONGEST_NUMBER = 19
"""Digits. Python refuses to read thousands of them, which a hostile name may have."""


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


def is_number(name: str) -> bool:
    """Whether a name is a whole number as PyTorch's containers write it, and no longer than any list could need."""
    return name.isascii() and name.isdecimal() and len(name) < _LONGEST_NUMBER and (name == "0" or name[0] != "0")
