"""A job that `ckpt-chaos` kills: it trains a little, saves after each step over its last checkpoint, and resumes.

`python -m tests.writing.training OUT plain|sharded`
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import statedict
from statedict.plan import Plan
from statedict.writing import write_folder
from tests.writing.test_folders import INDEX, SINGLE

STEPS = 3
State = dict[str, Any]


def file(state: State) -> Plan:
    """A safetensors file."""
    kinds, header, at = {"float32": "F32", "int64": "I64"}, dict[str, object](), 0
    for name, values in state.items():
        places = [at, at := at + values.nbytes]
        header[name] = {"dtype": kinds[values.dtype.name], "shape": values.shape, "data_offsets": places}
    text = json.dumps(header).encode()
    return Plan((len(text).to_bytes(8, "little"), text, *(values.tobytes() for values in state.values())))


def shards(state: State, taken: frozenset[str]) -> dict[str, Plan]:
    """A file for each tensor, and their index."""
    turn = next(turn for turn in "ab" if not any(f"-{turn}" in name for name in taken))
    owners = {name: f"model-{turn}{number}.safetensors" for number, name in enumerate(state)}
    files = {owners[name]: file({name: values}) for name, values in state.items()}
    return {**files, INDEX: Plan((json.dumps({"weight_map": owners}).encode(),))}


def main(out: Path, kind: str) -> None:
    """Train to the last step from wherever the checkpoint is."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / SINGLE if kind == "plain" else out / "net"
    state: State = {"bias": np.zeros(3, "f4"), "step": np.zeros(1, "i8"), "weight": np.zeros(300, "f4")}
    if path.exists():
        state = {name: tensor.numpy() for name, tensor in statedict.open(path).state_dict().items()}
    print(f"resumed from step {state['step'][0]}")
    while (step := int(state["step"][0]) + 1) <= STEPS:
        state = {name: values if name == "step" else values * 0.5 + np.float32(step) for name, values in state.items()}
        state["step"] = np.array([step])
        if kind == "plain":
            statedict.save(state, path)
        else:
            write_folder(lambda taken, state=state: shards(state, taken), path)
    values = {name: state[name].tolist() for name in sorted(state)}
    (out / "final").write_text(json.dumps(values))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
