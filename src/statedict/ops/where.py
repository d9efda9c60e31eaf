"""The condition of `--where`: a small language over what is known of a tensor, checked before it is run.

    ndim == 4 and numel > 1e6
    dtype in (f32, bf16) and not name.endswith(".bias")
    shape[0] == 768 or "Norm" in kind

Fields: name, dtype, shape, ndim, numel, nbytes, kind (of the module that owns it), role, requires_grad, device. What a
tensor does not have (`shape[1]` of a vector) is None, and None compares as neither more nor less than anything.
"""

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from statedict.dtypes import EXAMPLES, dtype
from statedict.errors import PatternError
from statedict.narrow import is_tuple

FIELDS = ("name", "dtype", "shape", "ndim", "numel", "nbytes", "kind", "role", "requires_grad", "device")

_Evaluate = Callable[[Mapping[str, Any]], Any]

_LONGEST = 10_000
_DEEPEST = 50
_ROLES = ("parameter", "buffer")
_METHODS = ("startswith", "endswith", "lower")
_FUNCTIONS: dict[str, Callable[[Any], int]] = {"len": len, "min": min, "max": max}
_ARITHMETIC: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", lambda left, right: left / right),
    ast.FloorDiv: ("//", lambda left, right: left // right),
    ast.Mod: ("%", operator.mod),
}
_COMPARISONS: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
    ast.Is: ("is", operator.eq),
    ast.IsNot: ("is not", operator.ne),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.In: ("in", lambda left, right: left in right),
    ast.NotIn: ("not in", lambda left, right: left not in right),
}
_SAME = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot)


def compile_where(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """The condition `text` as a function of the values of `FIELDS` that says whether it holds.

    Raises PatternError, with the place, for whatever is not of this language; nothing of `text` is run as Python. The
    function raises PatternError when values do not fit each other, a number and a text for example.
    """
    evaluate = _Compiler(text).compile(_parse(text))

    def holds(values: Mapping[str, Any]) -> bool:
        try:
            return bool(evaluate(values))
        except (TypeError, ArithmeticError) as error:
            raise PatternError(f"`{text}`: {error}, at `{values.get('name')}`") from error

    return holds


def _parse(text: str) -> ast.expr:
    if len(text) > _LONGEST:
        raise PatternError(f"`{text[:40]}…`: has {len(text):,} characters; at most {_LONGEST:,} are read")
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        place = f" (character {error.offset})" if error.offset else ", it ends too early"
        raise PatternError(f"`{text}`: {_plain(text, error.msg)}{place}") from None
    except (ValueError, RecursionError, MemoryError):
        raise PatternError(
            f"`{text[:40]}`: cannot be read as a condition; write one like `ndim == 4 and numel > 1e6`"
        ) from None


def _plain(text: str, message: str) -> str:
    for wrong, right in (("&&", "and"), ("||", "or"), ("!", "not")):
        if wrong in text.replace("!=", ""):
            return f"`{wrong}` is written `{right}`"
    return message[:1].lower() + message[1:]


class _Compiler:
    """A walk over the syntax tree that turns each node it knows into a function, and refuses every other."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._depth = 0

    def compile(self, node: ast.expr) -> _Evaluate:
        make = getattr(self, f"_{type(node).__name__.lower()}", None)
        if make is None:
            raise self._error(node, f"`{self._source(node)}` is not allowed here")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise PatternError(f"`{self.text[:40]}…`: is nested more than {_DEEPEST} deep")
        made = make(node)
        self._depth -= 1
        return made

    def _constant(self, node: ast.Constant) -> _Evaluate:
        value = node.value
        if not isinstance(value, str | int | float | None):
            raise self._error(node, f"`{self._source(node)}` is no number, text, True, False or None")
        return lambda _values: value

    def _name(self, node: ast.Name) -> _Evaluate:
        field = node.id
        if field in FIELDS:
            return operator.itemgetter(field)
        word = _dtype_name(field) or (field if field in _ROLES else None)
        if word is None:
            raise self._error(node, f"there is no field `{field}`; expected one of {', '.join(FIELDS)}")
        return lambda _values: word

    def _tuple(self, node: ast.Tuple | ast.List | ast.Set) -> _Evaluate:
        items = [self.compile(item) for item in node.elts]
        return lambda values: tuple(item(values) for item in items)

    _list = _set = _tuple

    def _boolop(self, node: ast.BoolOp) -> _Evaluate:
        parts = [self.compile(value) for value in node.values]
        together = all if isinstance(node.op, ast.And) else any
        return lambda values: together(part(values) for part in parts)

    def _unaryop(self, node: ast.UnaryOp) -> _Evaluate:
        operand = self.compile(node.operand)
        if isinstance(node.op, ast.Not):
            return lambda values: not operand(values)
        if isinstance(node.op, ast.USub):
            return lambda values: _arithmetic("-", operator.sub, 0, operand(values))
        raise self._error(node, f"`{self._source(node)}` is not allowed here")

    def _binop(self, node: ast.BinOp) -> _Evaluate:
        if type(node.op) not in _ARITHMETIC:
            signs = " ".join(sign for sign, _ in _ARITHMETIC.values())
            raise self._error(node, f"`{self._source(node)}`: expected one of {signs}, or `and`, `or`")
        sign, function = _ARITHMETIC[type(node.op)]
        left, right = self.compile(node.left), self.compile(node.right)
        return lambda values: _arithmetic(sign, function, left(values), right(values))

    def _compare(self, node: ast.Compare) -> _Evaluate:
        nodes = [node.left, *node.comparators]
        if any(isinstance(side, ast.Name) and side.id == "dtype" for side in nodes):
            nodes = [self._with_dtypes(side) for side in nodes]
        sides = [self.compile(side) for side in nodes]
        signs = [_COMPARISONS[type(sign)] for sign in node.ops]
        plain = [isinstance(sign, _SAME) for sign in node.ops]

        def compare(values: Mapping[str, Any]) -> bool:
            given = [side(values) for side in sides]
            return all(
                _compared(sign, function, given[at], given[at + 1], same=plain[at])
                for at, (sign, function) in enumerate(signs)
            )

        return compare

    def _with_dtypes(self, node: ast.expr) -> ast.expr:
        """What `dtype` is compared with, each text in it replaced by PyTorch's name of that element type."""
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return ast.copy_location(ast.Tuple([self._with_dtypes(item) for item in node.elts], ast.Load()), node)
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            return node
        name = _dtype_name(node.value)
        if name is None:
            raise self._error(node, f"`{node.value}` is no element type; expected one such as {EXAMPLES}")
        return ast.copy_location(ast.Constant(name), node)

    def _subscript(self, node: ast.Subscript) -> _Evaluate:
        if isinstance(node.slice, ast.Slice):
            raise self._error(node, f"`{self._source(node)}`: expected one position, as in `shape[0]`")
        held, position = self.compile(node.value), self.compile(node.slice)

        def item(values: Mapping[str, Any]) -> Any:
            at, value = position(values), held(values)
            if value is None:
                return None
            if not is_tuple(value) or type(at) is not int:
                raise TypeError("only `shape` has positions, and they are whole numbers")
            return value[at] if -len(value) <= at < len(value) else None

        return item

    def _call(self, node: ast.Call) -> _Evaluate:
        if node.keywords:
            raise self._error(node, f"`{self._source(node)}`: names of arguments are not allowed")
        given = [self.compile(argument) for argument in node.args]
        if isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS and len(given) == 1:
            function, argument = _FUNCTIONS[node.func.id], given[0]
            return lambda values: _applied(function, argument(values))
        if isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
            return _method(node.func.attr, self.compile(node.func.value), given)
        calls = [*(f"{name}(shape)" for name in _FUNCTIONS), *(f"name.{name}()" for name in _METHODS)]
        raise self._error(node, f"`{self._source(node)}`: the calls are {', '.join(calls)}")

    def _source(self, node: ast.expr) -> str:
        return ast.get_source_segment(self.text.strip(), node) or type(node).__name__

    def _error(self, node: ast.expr, what: str) -> PatternError:
        return PatternError(f"`{self.text}`: {what} (character {node.col_offset + 1})")


def _dtype_name(text: str) -> str | None:
    try:
        return dtype(text).name
    except ValueError:
        return None


def _arithmetic(sign: str, function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    if left is None or right is None:
        return None
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        raise TypeError(f"`{sign}` needs two numbers")
    return function(left, right)


def _compared(sign: str, function: Callable[[Any, Any], bool], left: Any, right: Any, *, same: bool) -> bool:
    if not same and (left is None or right is None):
        return False
    try:
        return function(left, right)
    except TypeError:
        raise TypeError(f"`{sign}` cannot compare {_what(left)} with {_what(right)}") from None


def _what(value: Any) -> str:
    names = {str: "a text", tuple: "a list", bool: "True or False", int: "a number", float: "a number"}
    return next((words for kind, words in names.items() if isinstance(value, kind)), "None")


def _applied(function: Callable[[Any], int], value: Any) -> int | None:
    if value is None:
        return None
    if not is_tuple(value):
        raise TypeError(f"`{function.__name__}` needs `shape`")
    return function(value) if value else 0


def _method(method: str, held: _Evaluate, given: list[_Evaluate]) -> _Evaluate:
    def call(values: Mapping[str, Any]) -> Any:
        value = held(values)
        arguments = [argument(values) for argument in given]
        if value is None:
            return None
        if not isinstance(value, str):
            raise TypeError(f"`{method}` needs a text")
        return getattr(value, method)(*arguments)

    return call
