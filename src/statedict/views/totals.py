"""What a model comes to, in a few aligned lines: parameters, buffers, tensors, modules, bytes."""

from statedict.dtypes import DType
from statedict.ops.sizes import Sizes
from statedict.tree.roles import Role
from statedict.views import numbers
from statedict.views.lines import Line, escaped, fitted, right

_ROLES: dict[Role, str] = {"parameter": "parameters", "buffer": "in buffers", "optimizer": "in optimizers"}


def totals(
    sizes: Sizes,
    modules: int,
    *,
    file: str,
    format: str,
    file_size: int,
    width: int | None = None,
) -> list[Line]:
    """The totals as lines of a number, what it counts, and a remark, each cut to `width` columns (None: never)."""
    rows: list[tuple[str, str, str]] = []
    for role, words in _ROLES.items():
        elements = sizes.elements.get(role, {})
        if elements or role == "parameter":
            rows.append((numbers.exact(sum(elements.values())), words, _by_dtype(elements)))
    tied = sizes.names - sizes.tensors
    remark = f"and {numbers.counted(tied, 'more name')} (tied)" if tied else ""
    rows.append((numbers.exact(sizes.tensors), "tensor" if sizes.tensors == 1 else "tensors", remark))
    rows.append((numbers.exact(modules), "module" if modules == 1 else "modules", ""))
    amount, unit = numbers.size(sizes.nbytes).split(" ")
    rows.append((amount, unit, f"in {escaped(file)} ({escaped(format)}, {numbers.size(file_size)})"))
    widest = max(len(number) for number, *_ in rows)
    column = max(len(words) for _, words, _ in rows)
    return [_line(*row, widest, column, width) for row in rows]


def _line(number: str, words: str, remark: str, widest: int, column: int, width: int | None) -> Line:
    line: Line = [(right(number, widest), "number"), (" " + words, "")]
    if remark:
        line.append((" " * (column - len(words) + 2) + remark, "dim"))
    return fitted(line, width)


def _by_dtype(elements: dict[DType, int]) -> str:
    if len(elements) == 1:
        return next(iter(elements)).name
    return ", ".join(f"{dtype.name} {count:,}" for dtype, count in elements.items())
