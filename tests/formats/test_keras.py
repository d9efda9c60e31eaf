"""Keras's files, laid out by h5py as Keras 3.15 and 2.0 lay them out: names, classes, configs and roles."""

import io
import json
import zipfile
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
import torch

import statedict as sd
from statedict.errors import FormatError, LimitError
from statedict.limits import Limits
from statedict.tree.reading import read
from tests.formats.contract import ODD_NAMES, FormatContract
from tests.formats.stored import index_of


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    inner = {"name": name, "trainable": True, **config}
    return {"module": "keras.layers", "class_name": kind, "config": inner, "registered_name": None}


INNER = layer(
    "Sequential", "inner", layers=[layer("InputLayer", "i"), layer("Dense", "proj", units=5), layer("ReLU", "r")]
)
CONFIG = {
    "module": "keras.src.models.functional",
    "class_name": "Functional",
    "config": {
        "name": "net",
        "trainable": True,
        "layers": [
            layer("InputLayer", "image"),
            layer("Conv2D", "stem", filters=4, kernel_size=[3, 3]),
            layer("BatchNormalization", "bn"),
            layer("Flatten", "flat"),
            INNER,
            layer("Dense", "middle", units=2, trainable=False),
            layer("Dense", "head", units=3),
            layer("Bidirectional", "both", layer=layer("LSTM", "forward_lstm", units=3)),
        ],
    },
}
LAYERS = {
    "layers/conv2d": ("stem", [(3, 3, 3, 4), (4,)]),
    "layers/batch_normalization": ("bn", [(4,)] * 4),
    "layers/sequential/layers/dense": ("proj", [(4, 5), (5,)]),
    "layers/dense": ("middle", [(5, 2), (2,)]),
    "layers/dense_1": ("head", [(2, 3), (3,)]),
    "layers/bidirectional/forward_layer/cell": ("lstm_cell", [(4, 12), (3, 12), (12,)]),
    "layers/bidirectional/backward_layer/cell": ("lstm_cell", [(4, 12), (3, 12), (12,)]),
    "optimizer": ("adam", [(), (4,)]),
}


def weights(layers: dict[str, tuple[str, list[tuple[int, ...]]]] = LAYERS) -> bytes:
    """`model.weights.h5`: each layer's variables under `vars`, beside whose numbers its name is noted."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("vars").attrs["name"] = "net"
        for path, (name, shapes) in layers.items():
            group = file.create_group(path).create_group("vars")
            group.attrs["name"] = name
            for number, shape in enumerate(shapes):
                group[str(number)] = np.full(shape, number, "f4")
    return buffer.getvalue()


def archive(config: Any = CONFIG, data: bytes | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": "2026-11-23"}))
        file.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        if data is not None:
            file.writestr("model.weights.h5", data)
    return buffer.getvalue()


class TestContract(FormatContract):
    """Datasets with names of any kind; a .keras file is an HDF5 file in a zip archive."""

    format = "keras"

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            for name, tensor in tensors.items():
                file[name] = tensor.numpy()
        return archive({}, buffer.getvalue())

    @pytest.mark.parametrize("names", [["layer.weight", "ü.ключ.鍵", *ODD_NAMES[:1]]])
    def test_names_are_kept_as_they_are(self, names: list[str]) -> None:
        super().test_names_are_kept_as_they_are(names)


def test_each_layer_has_its_class_and_config() -> None:
    model = sd.open(archive(data=weights()))
    assert (model.kind, model.class_name) == ("Functional", "keras.src.models.functional.Functional")
    layers = model.get_submodule("layers")
    kinds = {name: module.kind for name, module in layers.named_modules() if name and not name.endswith("vars")}
    assert {name: kind for name, kind in kinds.items() if kind is not None and "." not in name} == {
        "input_layer": "InputLayer", "conv2d": "Conv2D", "batch_normalization": "BatchNormalization",
        "flatten": "Flatten", "sequential": "Sequential", "dense": "Dense", "dense_1": "Dense",
        "bidirectional": "Bidirectional",
    }  # fmt: skip
    assert kinds["sequential.layers.dense"] == "Dense"
    assert kinds["sequential.layers.re_lu"] == "ReLU"
    assert kinds["bidirectional.backward_layer"] == "LSTM"
    assert kinds["bidirectional.forward_layer.cell"] == "LSTMCell"
    assert "sequential.layers.input_layer" not in kinds, "of a Sequential, Keras lists no input"
    assert layers.get_submodule("conv2d").attributes == CONFIG["config"]["layers"][1]["config"]  # type: ignore[index]
    assert [name for name, _ in layers.named_children()] == [
        "input_layer", "conv2d", "batch_normalization", "flatten", "sequential", "dense", "dense_1", "bidirectional",
    ]  # fmt: skip


def test_variables_keep_their_numbers_and_have_roles() -> None:
    model = sd.open(archive(data=weights()))
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert trained["layers.conv2d.vars.0"] is trained["layers.dense_1.vars.1"] is True
    assert trained["layers.dense.vars.0"] is False, "its layer is frozen"
    assert [name for name, _ in model.named_buffers()] == [
        "layers.batch_normalization.vars.2", "layers.batch_normalization.vars.3",
        "optimizer.vars.0", "optimizer.vars.1",
    ]  # fmt: skip
    index = index_of(archive(data=weights()))
    assert index.metadata["keras_version"] == "3.15.1"
    assert read(index.tensors["layers.batch_normalization.vars.3"]).tolist() == [3] * 4


def test_weights_alone_know_the_names_of_layers() -> None:
    model = sd.open(weights())
    named = {name: module.attributes["name"] for name, module in model.named_modules() if "name" in module.attributes}
    assert named == {"": "net"} | {path.replace("/", "."): name for path, (name, _) in LAYERS.items()}
    assert [name for name, _ in model.named_buffers()][:2] == [
        "layers.batch_normalization.vars.2", "layers.batch_normalization.vars.3",
    ]  # fmt: skip


def test_bfloat16_as_keras_marks_it() -> None:
    values = np.array([1, -2.5], ml_dtypes.bfloat16)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("layers/dense/vars/0", data=values.view("V2")).attrs["dtype"] = "bfloat16"
    info = index_of(archive({}, buffer.getvalue())).tensors["layers.dense.vars.0"]
    assert (str(info.dtype), read(info).tolist()) == ("bfloat16", [1, -2.5])


def older(weights_only: bool = False, names: str = "{layer}/{weight}:0") -> bytes:
    """As Keras 2 saves, and `model.save("x.h5")` does to this day."""
    buffer = io.BytesIO()
    layers: dict[str, list[str]] = {
        "image": [], "stem": ["kernel", "bias"], "bn": ["gamma", "beta", "moving_mean", "moving_variance"],
        "inner": ["proj/kernel", "proj/bias"],
    }  # fmt: skip
    with h5py.File(buffer, "w") as file:
        top = file if weights_only else file.create_group("model_weights")
        for name, listed in layers.items():
            group = top.create_group(name)
            full = [names.format(layer=name, weight=weight) for weight in listed]
            group.attrs["weight_names"] = np.array(full, "S")
            for weight in full:
                group[weight] = np.ones(2)
        top.attrs["layer_names"] = np.array(list(layers), "S")
        if not weights_only:
            file.attrs["keras_version"] = "2.0.5"
            file.attrs["model_config"] = json.dumps(CONFIG | {"class_name": "Model"})
            file.attrs["training_config"] = json.dumps({"loss": "mse"})
            file["optimizer_weights/adam/iteration"] = 3
            file["optimizer_weights"].attrs["weight_names"] = np.array(["adam/iteration"], "S")
    return buffer.getvalue()


LOCAL = ["stem.kernel", "stem.bias", "bn.gamma", "bn.beta", "bn.moving_mean", "bn.moving_variance"]


@pytest.mark.parametrize(
    "names", ["{layer}/{weight}:0", "{layer}/{weight}", "net/{layer}/{weight}", "{layer}_2/{weight}:0"]
)
def test_older_files_name_weights_by_layer(names: str) -> None:
    assert list(index_of(older(weights_only=True, names=names)).tensors) == [
        *LOCAL,
        "inner.proj.kernel",
        "inner.proj.bias",
    ]


def test_two_weights_of_one_short_name_keep_their_long_names() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        group = file.create_group("a")
        group.attrs["weight_names"] = np.array(["a/w", "a_1/w"], "S")
        group["a/w"], group["a_1/w"] = 1.0, 2.0
    assert list(index_of(buffer.getvalue()).tensors) == ["a.w", "a.a_1.w"]


def test_an_older_whole_model() -> None:
    index = index_of(older())
    assert index.metadata == {"keras_version": "2.0.5"}
    assert [name.removeprefix("model_weights.") for name in index.tensors][:6] == LOCAL
    model = sd.open(older())
    assert model.attributes["training_config"] == {"loss": "mse"}
    assert "model_config" not in model.attributes
    top = model.get_submodule("model_weights")
    assert top.kind == "Model"
    assert [(name, child.kind) for name, child in top.named_children()][:4] == [
        ("image", "InputLayer"), ("stem", "Conv2D"), ("bn", "BatchNormalization"), ("flat", "Flatten"),
    ]  # fmt: skip
    assert top.get_submodule("inner.proj").kind == "Dense"
    assert [name for name, _ in model.named_buffers()] == [
        "model_weights.bn.moving_mean", "model_weights.bn.moving_variance", "optimizer_weights.adam.iteration",
    ]  # fmt: skip


def test_names_in_several_attributes_are_one_list() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name in ("b", "a"):
            file.create_group(name).attrs["weight_names0"] = np.array([f"{name}/w"], "S")
            file[f"{name}/{name}/w"] = 1.0
        file.attrs["layer_names0"] = np.array(["a"], "S")
        file.attrs["layer_names1"] = np.array(["b"], "S")
    index = index_of(buffer.getvalue())
    assert list(index.tensors) == ["a.w", "b.w"]
    assert not index.modules[""].attributes


def test_a_compressed_archive_is_unpacked_within_limits() -> None:
    data = archive(data=weights(), compression=zipfile.ZIP_DEFLATED)
    assert len(index_of(data).tensors) == sum(len(shapes) for _, shapes in LAYERS.values())
    with pytest.raises(LimitError, match="zip -0"):
        index_of(data, limits=Limits(header_bytes=len(weights()) - 1))


REFUSED = {
    "no weights": archive(),
    "no JSON": archive("{", weights()),
    "JSON that is no object": archive("[]", weights()),
    "brackets without end": archive("[" * 200_000, weights()),
    "weights that are no HDF5": archive(data=b"hello"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_a_damaged_archive_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"^net\.pt: ") as caught:
        index_of(data)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "config",
    [
        {"class_name": 3}, {"class_name": "A", "config": 3}, {"class_name": "A", "config": {"layers": 3}},
        {"class_name": "A", "config": {"layers": [3, {}, {"class_name": None}, {"class_name": "B", "config": []}]}},
        {"class_name": "Sequential", "config": [{"class_name": "Dense", "config": {"name": "d"}}]},
        {"class_name": "A", "config": {"layer": {"class_name": "LSTM", "config": None}, "cell": []}},
    ],
)  # fmt: skip
def test_a_strange_config_takes_nothing_away(config: Any) -> None:
    assert len(index_of(archive(config, weights())).tensors) == sum(len(shapes) for _, shapes in LAYERS.values())
