"""Recurrent layers and cells, by the rows that their gates take."""

import re

from statedict.tree.infer.places import Shape

_NAME = re.compile(r"(weight|bias)_(ih|hh|hr)(?:_l(\d+)(_reverse)?)?")
_GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}


def kind(shapes: dict[str, Shape]) -> str | None:
    """LSTM, GRU, RNN, or one of their cells."""
    suffix = "_l0" if "weight_ih_l0" in shapes else ""
    outer, inner = shapes.get(f"weight_ih{suffix}", ()), shapes.get(f"weight_hh{suffix}", ())
    if len(outer) != 2 or len(inner) != 2 or not all(map(_NAME.fullmatch, shapes)):
        return None
    projected = shapes.get(f"weight_hr{suffix}", ())
    size = projected[1] if len(projected) == 2 else inner[1]
    gates = inner[0] // size if size and inner[0] % size == 0 and outer[0] == inner[0] else 0
    name = _GATES.get(gates)
    return name if suffix or name is None else name + "Cell"


def attributes(shapes: dict[str, Shape]) -> dict[str, object]:
    """The arguments of such a layer that its tensors show."""
    suffix = "_l0" if "weight_ih_l0" in shapes else ""
    outer, inner = shapes[f"weight_ih{suffix}"], shapes[f"weight_hh{suffix}"]
    projected = shapes.get(f"weight_hr{suffix}")
    found: dict[str, object] = {"input_size": outer[1], "hidden_size": projected[1] if projected else inner[1]}
    if suffix:
        layers = {match[3] for match in map(_NAME.fullmatch, shapes) if match}
        found["num_layers"] = len(layers)
        found["proj_size"] = projected[0] if projected else 0
        found["bidirectional"] = "weight_ih_l0_reverse" in shapes
    found["bias"] = f"bias_ih{suffix}" in shapes
    return found
