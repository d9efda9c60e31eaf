"""Makes `tests/samples/orbax.zip`: what Orbax itself writes, for tests that need neither Orbax nor JAX.

    python -m tests.formats.orbax_samples

Needs `pip install orbax-checkpoint`, which brings JAX. The samples are of orbax-checkpoint 0.12.8 and JAX 0.10.2.
"""

import importlib
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

SAMPLES = Path(__file__).parent.parent / "samples" / "orbax.zip"
SHARDED = ("params", "Dense_0", "kernel")
"""Where the array is that four devices share."""
LAYOUTS = {
    "ocdbt-zarr2": {"use_ocdbt": True, "use_zarr3": False},
    "ocdbt-zarr3": {"use_ocdbt": True, "use_zarr3": True},
    "zarr2": {"use_ocdbt": False, "use_zarr3": False},
    "zarr3": {"use_ocdbt": False, "use_zarr3": True},
}


def tree() -> dict[str, Any]:
    """What all of them hold."""
    layers = [{"w": np.full((2, 2), number, np.float16)} for number in range(11)]
    return {
        "params": {
            "Dense_0": {
                "kernel": np.arange(48, dtype=np.float32).reshape(6, 8),
                "bias": np.linspace(-1, 1, 8).astype(ml_dtypes.bfloat16),
            },
            "layers": layers,
            "a.b": np.arange(5),
            "empty": {},
        },
        "scalar": np.asarray(3.5, np.float32),
        "complex": np.array([1 + 2j, -0.5j], np.complex64),
        "float8": np.array([0.5, -2, 448]).astype(ml_dtypes.float8_e4m3fn),
        "int4": np.array([-8, -1, 0, 7]).astype(ml_dtypes.int4),
        "flags": np.array([True, False, True]),
        "cube": np.arange(2 * 3 * 5, dtype=np.int32).reshape(2, 3, 5),
        "step": 7,
        "note": "written by Orbax",
        "none": None,
    }


def _on_devices(jax: Any) -> dict[str, Any]:
    """The same, on JAX's devices: the kernel split over four of them."""
    placed = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, tree())
    mesh = jax.make_mesh((2, 2), ("rows", "columns"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows", "columns"))
    placed["params"]["Dense_0"]["kernel"] = jax.device_put(tree()["params"]["Dense_0"]["kernel"], sharding)
    return placed


def _make(folder: Path) -> None:
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    jax: Any = importlib.import_module("jax")
    orbax: Any = importlib.import_module("orbax.checkpoint")
    jax.config.update("jax_enable_x64", True)
    for name, options in LAYOUTS.items():
        handler = orbax.PyTreeCheckpointHandler(**options)
        orbax.Checkpointer(handler).save(folder / name, args=orbax.args.PyTreeSave(_on_devices(jax)))
    item = orbax.args.StandardSave({"w": np.arange(3.0)})
    with orbax.CheckpointManager(folder / "run") as manager:
        manager.save(1, args=item)
        manager.wait_until_finished()
    with orbax.CheckpointManager(folder / "items") as manager:
        manager.save(2, args=orbax.args.Composite(state=item, about=orbax.args.JsonSave({"epoch": 3})))
        manager.wait_until_finished()


def main() -> None:
    """Write the samples."""
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(SAMPLES, "w", zipfile.ZIP_DEFLATED) as archive:
        folder = Path(temporary)
        _make(folder)
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))


if __name__ == "__main__":
    main()
