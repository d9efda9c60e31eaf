"""Merging takes a few MiB, however large the tensors are."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import statedict as sd
from statedict.expressions import nodes

_ROWS, _COLUMNS = 1 << 14, 1 << 12  # 256 MiB of float32
_PROGRAM = r"""
import re, sys
import statedict as sd
base, one, other = (sd.open(f"{sys.argv[1]}/{name}.safetensors") for name in ("base", "one", "other"))
merged = eval(sys.argv[2])
source = merged.get_parameter("fc.weight").info.extent.source
buffer = memoryview(bytearray(1 << 22))
for at in range(0, source.size, len(buffer)):
    source.readinto_at(at, buffer)
print(int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) >> 10)
"""
_MERGES = {
    "linear": "sd.merge([one, other])",
    "slerp": "sd.merge([one, other], 'slerp')",
    "ties": "sd.merge([one, other], 'ties', base=base, density=0.2)",
    "dare-ties": "sd.merge([one, other], 'dare-ties', base=base, density=0.2, rescale='l1')",
    "breadcrumbs": "sd.merge([one, other], 'breadcrumbs', base=base, density=0.5, gamma=0.1)",
    "model-stock": "sd.merge([one, other], 'model-stock', base=base)",
    "fold": "sd.fold_lora(base, sd.open(f'{sys.argv[1]}/adapter'))",
    "extract": "sd.fold_lora(base, sd.extract_lora(one, base, 16))",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    generator = np.random.default_rng(0)
    for seed, name in enumerate(("base", "one", "other"), 1):
        values = np.tile(generator.standard_normal((_ROWS // 64, _COLUMNS), np.float32), (64, 1))
        sd.save({"fc": {"weight": values * seed}}, path / f"{name}.safetensors")
    pair = {"A": generator.standard_normal((64, _COLUMNS)), "B": generator.standard_normal((_ROWS, 64))}
    (path / "adapter").mkdir()
    tensors = {f"base_model.model.fc.lora_{part}.weight": values.astype("f4") for part, values in pair.items()}
    sd.save(tensors, path / "adapter" / "adapter_model.safetensors")
    (path / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 8}')
    return path


@pytest.mark.slow
@pytest.mark.parametrize("merge", _MERGES)
def test_tensors_of_256_mib(merge: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder), _MERGES[merge]],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # waiting threads would take the other tests' processors
    )
    assert int(done.stdout) < 150


def test_facts_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The passes over whole tensors come before the first element, and never again."""
    monkeypatch.setattr(nodes, "_STRETCH", 100)
    counted: list[int] = []
    plain = nodes.Leaf.stored

    def counting(leaf: nodes.Leaf, start: int, stop: int) -> object:
        counted.append(stop - start)
        return plain(leaf, start, stop)

    base, tuned = sd.open({"w": np.zeros(1000)}), sd.open({"w": np.arange(1000.0)})
    merged = sd.merge([tuned], "ties", base=base, density=0.5).get_parameter("w")
    monkeypatch.setattr(nodes.Leaf, "stored", counting)
    assert counted == []
    for _ in range(3):
        merged.numpy()
    assert sum(counted) == 2 * 1000 * (1 + 3)
