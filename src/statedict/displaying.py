"""How values show themselves in notebooks: a base class for them, and who draws them, which they do not know."""

from collections.abc import Callable
from typing import Any

Drawer = Callable[[Any], dict[str, str]]

_drawers: list[Drawer] = []


def drawn_by(drawer: Drawer) -> None:
    """From now on `drawer` makes what a notebook shows of a value: texts by their media types."""
    _drawers[:] = [drawer]


class Displayed:
    """A value that notebooks show as more than text: Jupyter's, VS Code's, and what they export."""

    __slots__ = ()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """The value as HTML, and as the text that the terminal shows."""
        return _drawers[-1](self) if _drawers else {"text/plain": repr(self)}

    def _repr_html_(self) -> str | None:
        return self._repr_mimebundle_().get("text/html")
