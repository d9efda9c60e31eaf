"""Quantised layers: as the libraries themselves stored them, then by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

import statedict as sd
from statedict.tree.infer.quantization import Quantization
from statedict.tree.module import Module
from tests.shapes import Shape, model

SAMPLES = Path(__file__).parent.parent / "samples"
RECORDED: dict[str, dict[str, Any]] = json.loads((SAMPLES / "quantized.json").read_text(encoding="utf-8"))
"""Layers that each library made (`made`): the tensors of their state dicts, and what they stand for."""


def quantized(tensors: dict[str, tuple[Shape, str]]) -> Module:
    shapes = {f"fc.{name}": shape for name, (shape, _) in tensors.items()}
    return model(shapes, {f"fc.{name}": type for name, (_, type) in tensors.items()}).get_submodule("fc")


@pytest.mark.parametrize("name", RECORDED)
def test_what_the_libraries_store(name: str) -> None:
    """Of a bias nothing is quantised; what belongs to activations is not the weight's."""
    recorded = RECORDED[name]
    tensors = {name: (tuple(shape), type) for name, type, shape in recorded["tensors"]}
    found = quantized(tensors)
    told = found.quantization
    assert told is not None
    shape = recorded["shape"]
    assert (found.kind, told.method) == ("Linear", recorded["method"])
    assert (told.bits, told.shape, told.group_size) == (
        recorded["bits"],
        None if shape is None else tuple(shape),
        recorded["group_size"],
    )
    assert {name for name in tensors if name != "bias" and not name.startswith("input_")} <= set(told.tensors)


@pytest.mark.parametrize(
    ("name", "bits", "group"), [("int8", 8, None), ("float8", 8, None), ("groups", 8, 32), ("int4", 4, 32)]
)
def test_what_torchao_pickles(name: str, bits: int, group: int | None) -> None:
    """A file by torchao 0.18: each weight of 32 by 64 is one tensor, of a class of its own."""
    found = sd.open(SAMPLES / "torchao.pt").get_submodule(name)
    assert (found.kind, found.quantization) == ("Linear", Quantization("torchao", bits, (32, 64), group, ("weight",)))


def test_a_matrix_packed_otherwise_has_no_shape() -> None:
    found = quantized({"_weight_qdata": ((4, 2, 32, 4), "int32"), "_weight_scale_and_zero": ((4, 64, 2), "bfloat16")})
    told = found.quantization
    assert told is not None
    assert (found.kind, told.method, told.bits, told.shape) == ("Linear", "torchao", None, None)


def test_vectors_of_other_shapes_are_not_awqs() -> None:
    types = {"qweight": ((128, 33), "int32"), "qzeros": ((127, 1), "int32"), "scales": ((128, 8), "float16")}
    assert quantized(types).quantization is None


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq(bits: int) -> None:
    found = quantized(
        {
            "qweight": ((4096 * bits // 32, 11008), "int32"),
            "qzeros": ((32, 11008 * bits // 32), "int32"),
            "scales": ((32, 11008), "float16"),
            "g_idx": ((4096,), "int32"),
        }
    )
    expected = Quantization("gptq", bits, (11008, 4096), 128, ("qweight", "qzeros", "scales", "g_idx"))
    assert (found.kind, found.quantization) == ("Linear", expected)
    assert repr(found) == f"Linear?({bits}-bit gptq [11008, 4096])"


def test_awq() -> None:
    found = quantized(
        {
            "qweight": ((4096, 1376), "int32"),
            "qzeros": ((64, 1376), "int32"),
            "scales": ((64, 11008), "float16"),
        }
    )
    assert found.quantization == Quantization("awq", 4, (11008, 4096), 64, ("qweight", "qzeros", "scales"))


def test_bitsandbytes_of_eight_bits() -> None:
    found = quantized({"weight": ((6, 4), "int8"), "SCB": ((6,), "float32"), "weight_format": ((), "uint8")})
    assert (found.kind, found.quantization) == (
        "Linear",
        Quantization("bitsandbytes", 8, (6, 4), None, ("weight", "SCB", "weight_format")),
    )


@pytest.mark.parametrize(("bias", "shape"), [({}, None), ({"bias": ((64,), "float16")}, (64, 128))])
def test_bitsandbytes_of_four_bits(bias: dict[str, tuple[Shape, str]], shape: Shape | None) -> None:
    parts: dict[str, tuple[Shape, str]] = {
        "weight": ((4096, 1), "uint8"),
        "weight.absmax": ((128,), "float32"),
        "weight.quant_map": ((16,), "float32"),
        "weight.quant_state.bitsandbytes__nf4": ((99,), "uint8"),
    }
    found = quantized({**parts, **bias})
    told = found.quantization
    assert told is not None
    assert (found.kind, told.method, told.bits, told.shape, told.group_size) == ("Linear", "bitsandbytes", 4, shape, 64)
    assert {"weight", "weight.absmax", "weight.quant_map"} <= set(told.tensors)


def test_compressed_tensors() -> None:
    scale = ((64, 8), "float16")
    packed = {"weight_scale": scale, "weight_shape": ((2,), "int64")}
    four = quantized({"weight_packed": ((64, 128), "int32"), **packed}).quantization
    eight = quantized({"weight_packed": ((64, 256), "int32"), **packed}).quantization
    other = quantized({"weight_packed": ((64, 99), "int32"), **packed}).quantization
    assert four is not None
    assert (four.method, four.bits, four.shape, four.group_size) == ("compressed-tensors", 4, (64, 1024), 128)
    assert eight is not None
    assert (eight.bits, eight.shape) == (8, (64, 1024))
    assert other is not None
    assert (other.bits, other.shape) == (None, None)


def test_floats_of_four_bits() -> None:
    found = quantized({"weight_packed": ((64, 128), "uint8"), "weight_scale": ((64, 16), "float8_e4m3fn")}).quantization
    assert found is not None
    assert (found.bits, found.shape, found.group_size) == (4, (64, 256), 16)


@pytest.mark.parametrize(
    ("type", "scale", "group"),
    [
        ("float8_e4m3fn", {"weight_scale_inv": (5, 3)}, 128),
        ("float8_e4m3fn", {"weight_scale": (), "input_scale": ()}, None),
        ("int8", {"weight_scale": (576, 1)}, None),
    ],
)
def test_eight_bits_with_scales(type: str, scale: dict[str, Shape], group: int | None) -> None:
    found = quantized({"weight": ((576, 320), type), **{name: (shape, "float32") for name, shape in scale.items()}})
    told = found.quantization
    assert told is not None
    assert (found.kind, told.bits, told.shape, told.group_size) == ("Linear", 8, (576, 320), group)
    assert told.tensors == ("weight", *scale)


def test_torchao_in_safetensors() -> None:
    found = quantized({"_weight_qdata": ((64, 32), "float8_e4m3fn"), "_weight_scale": ((64, 1), "float32")})
    told = found.quantization
    assert told is not None
    assert (found.kind, told.method, told.bits, told.shape) == ("Linear", "torchao", 8, (64, 32))


def test_floats_of_eight_bits_alone_are_an_ordinary_layer() -> None:
    found = quantized({"weight": ((64, 32), "float8_e4m3fn")})
    assert (found.kind, found.quantization) == ("Linear", None)
