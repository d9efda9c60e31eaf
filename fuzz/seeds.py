"""What fuzzing begins with: small sound files of every format, made here, by the formats' own libraries or by hand."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fuzz.mutating import zipped
from tests.corpus import archives, models
from tests.corpus.files import corpus
from tests.formats.orbax_samples import SAMPLES


def _torch(held: Any, **how: Any) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(held, file, **how)
    return file.getvalue()


def _net() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Linear(2, 2))


def _training() -> dict[str, Any]:
    import torch

    net = _net()
    optimizer = torch.optim.AdamW(net.parameters())
    sparse = torch.eye(3).to_sparse()
    return {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "lr": 0.1, "sparse": sparse, "none": [None]}


def torch_zip() -> list[bytes]:
    return [_torch(_net().state_dict()), _torch(_training()), _torch(_net()), _deflated(_torch(_net().state_dict()))]


def _deflated(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return file.getvalue()


def torch_legacy() -> list[bytes]:
    return [_torch(held, _use_new_zipfile_serialization=False) for held in (_net().state_dict(), _training(), _net())]


def torch_tar() -> list[bytes]:
    import struct

    def one(value: Any) -> bytes:
        return pickle.dumps(value, 2)

    storages = (
        one(1) + b"\x80\x02(K\x01X\x03\0\0\0cpuctorch\nFloatStorage\nt." + struct.pack("<q4f", 4, 1, 2, 3, 4) + one([])
    )
    tensors = one(1) + b"\x80\x02(K\x02K\x01ctorch\nFloatTensor\nt." + struct.pack("<i4xqqqqq", 2, 2, 2, 2, 1, 0)
    body = b"\x80\x02}X\x01\0\0\0wX\x01\0\0\x002Qs."
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in (("sys_info", one({})), ("pickle", body), ("storages", storages), ("tensors", tensors)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return [file.getvalue()]


def torchscript() -> list[bytes]:
    import warnings

    import torch

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(_net()), file)
    return [file.getvalue()]


def pt2() -> list[bytes]:
    import warnings

    import torch

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), file)
    return [file.getvalue()]


def safetensors() -> list[bytes]:
    import numpy as np
    from safetensors.numpy import save

    return [
        save({"a.weight": np.ones((2, 3), "f4"), "a.bias": np.zeros(2, "f2"), "b": np.zeros((0, 2), "i8")}, {"x": "y"})
    ]


def gguf() -> list[bytes]:
    import numpy as np

    from tests.formats import gguf_files

    tensors = {"a.weight": np.ones((2, 32), "f4"), "b.weight": np.zeros(32, "f2")}
    return [
        models.gguf("{{ messages[0]['content'] }}"),
        gguf_files.written(tensors, lambda writer: writer.add_array("x.z", ["a", "b"])),
    ]


def onnx() -> list[bytes]:
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((2, 2), "f4"), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="m")
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph([node], "g", [value], [], [weight])
    return [helper.make_model(graph).SerializeToString(), models.onnx(models.onnx_node(b"Add", b""))]


def npy() -> list[bytes]:
    import numpy as np

    found: list[bytes] = []
    for array in (np.arange(6.0).reshape(2, 3), np.array(["a", "bc"]), np.array([{"a": np.ones(2)}], dtype=object)):
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        found.append(file.getvalue())
    return found


def npz() -> list[bytes]:
    import numpy as np

    found: list[bytes] = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, a=np.ones((2, 2)), b=np.arange(3))
        found.append(file.getvalue())
    return found


def _hdf5(fill: Callable[[Any], None], **how: Any) -> bytes:
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w", **how) as opened:
        fill(opened)
    return file.getvalue()


def hdf5() -> list[bytes]:
    import numpy as np

    def fill(file: Any) -> None:
        file.attrs["model_config"] = json.dumps(models.model_of(models.layer("Dense", {"name": "dense", "units": 2})))
        group = file.create_group("model_weights/dense/dense")
        group.create_dataset("kernel:0", data=np.ones((2, 2), "f4"))
        group.create_dataset("bias:0", data=np.ones(8, "f4"), chunks=(4,), compression="gzip")
        file["link"] = __import__("h5py").SoftLink("/model_weights")

    return [_hdf5(fill), _hdf5(fill, libver="latest")]


def keras() -> list[bytes]:
    config = models.model_of(models.layer("Dense", {"name": "dense", "units": 2}))
    members = (("metadata.json", b"{}"), ("config.json", json.dumps(config).encode()), ("model.weights.h5", hdf5()[0]))
    return [archives.zipped(*members), models.keras(config)]


def msgpack() -> list[bytes]:
    import msgpack as library
    import numpy as np

    array = np.ones((2, 2), "f4")
    packed: Any = library.packb((array.shape, "float32", array.tobytes()))
    whole: Any = library.packb({"params": {"dense": {"kernel": library.ExtType(1, packed)}, "step": 3}})
    return [whole]


def pickled() -> list[bytes]:
    import numpy as np

    held = {"a": np.ones((2, 2)), "b": [np.float32(1), {"c": np.arange(3)}], "d": {1, 2}}
    return [pickle.dumps(held, protocol) for protocol in (2, 4, 5)]


def index_json() -> list[bytes]:
    return [
        json.dumps({"metadata": {"total_size": 9}, "weight_map": {"a": "x.safetensors", "b": "x.safetensors"}}).encode()
    ]


def dcp() -> list[bytes]:
    """`.metadata` of a folder that torch.distributed.checkpoint wrote."""
    import tempfile
    import warnings

    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(_net().state_dict(), storage_writer=FileSystemWriter(folder))
        return [(Path(folder) / ".metadata").read_bytes()]


def dcp_safetensors() -> list[bytes]:
    """Two ranks' shards, each with half of a matrix, as an archive of the folder."""
    import numpy as np
    from safetensors.numpy import save

    members: list[tuple[str, bytes]] = []
    for rank in range(2):
        offsets = {"a.weight": {"saved_offsets": [2 * rank, 0]}, "a.bias": {"saved_offsets": [2 * rank]}}
        tensors = {"a.weight": np.ones((2, 3), "f4"), "a.bias": np.zeros(2, "f2")}
        name = f"shard-{rank + 1:05}-model-00001-of-00001.safetensors"
        members.append((name, save(tensors, {"DCP_SHARDING_INFO": json.dumps(offsets)})))
    return [zipped(members)]


def orbax() -> list[bytes]:
    """Orbax's own folders, as archives: with and without a database, a step, and a manager's."""
    with zipfile.ZipFile(SAMPLES) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        folders = dict.fromkeys(name.partition("/")[0] for name in names)
        return [
            zipped([(name.partition("/")[2], archive.read(name)) for name in names if name.startswith(f"{folder}/")])
            for folder in folders
        ]


def tflite() -> list[bytes]:
    import torch

    from tests.formats import tflite_models

    return [tflite_models.of_tensors({"a.w": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.int8)})]


def hostile() -> list[bytes]:
    """The corpus, of which none is longer than 8 KiB, and sound files of every kind."""
    sound = (safetensors, gguf, onnx, npy, npz, keras, pickled, torch_tar, torch_zip)
    found = [each.data() for each in corpus()] + [data for make in sound for data in make()]
    found.append(gzip.compress(pickled()[0], mtime=0))
    return [data for data in found if len(data) <= 8192]


def texts(*given: str) -> Callable[[], Iterable[bytes]]:
    return lambda: [each.encode() for each in given]
