"""The operators and methods of `Tensor` that compute: they read nothing, and go where tensors go."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import statedict as sd
from statedict.index import TensorInfo
from statedict.source import BytesSource, Extent
from statedict.tree.tensor import Tensor


class Unreadable(BytesSource):
    """Bytes that nobody may read yet."""

    __slots__ = ()

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        raise AssertionError("nothing should be read before its values are asked for")


def unreadable(kind: str = "float32") -> Tensor:
    source = Unreadable(b"\0" * 4 * 12)
    dtype = sd.dtype(kind)
    return Tensor(TensorInfo("w", dtype, (3, 4), Extent(source, 0, dtype.nbytes(12))))


def test_nothing_is_read() -> None:
    x, mask = unreadable(), unreadable("bool")
    made = [
        x + x, x - 1, 2 * x, x / x, -x, 1 / x, x.half(), x.to("float8_e4m3fn"), x.t(), x.T, x.reshape(-1), x.flatten(),
        x.permute(1, 0), x.transpose(0, 1), x.t().contiguous(), x.clone(), x.masked_fill(mask, 0.0), x[1:, ::2],
        sd.cat([x, x]), sd.stack([x, x]), sd.where(mask, x, 0.0), (x + x)[0], (x + 0.3 * (x - x)).bfloat16(),
    ]  # fmt: skip
    assert all(isinstance(each, Tensor) and each.name == "w" for each in made)
    with pytest.raises(AssertionError, match="nothing should be read"):
        made[0].numpy()


CASTS = {"half": "float16", "bfloat16": "bfloat16", "float": "float32", "double": "float64"}


@pytest.mark.parametrize("method", CASTS)
def test_casts(method: str) -> None:
    a = torch.randn(3, 4)
    ours, theirs = getattr(Tensor(a), method)(), getattr(a, method)()
    assert ours.dtype.name == CASTS[method]
    assert torch.equal(ours.torch(), theirs)


def test_a_cast_to_its_own_type_is_itself() -> None:
    x = Tensor(torch.randn(3))
    assert x.float() is x
    assert x.to(sd.dtype("f32")) is x
    assert x.contiguous() is x


@pytest.mark.parametrize("target", ["int4_packed", "qint8", "q4_0"])
def test_a_type_that_cannot_be_had_one_by_one(target: str) -> None:
    with pytest.raises(TypeError, match=rf"^tensor `` of float32 \(strided\) cannot become {target}$"):
        Tensor(torch.randn(3)).to(target)


def test_sparse_tensors_are_refused() -> None:
    sparse = Tensor(torch.eye(3).to_sparse())
    with pytest.raises(TypeError, match="sparse_coo"):
        sparse.half()
    with pytest.raises(TypeError, match="sparse_coo"):
        _ = sparse + 1


def test_meta_tensors_are_cast_without_values() -> None:
    cast = Tensor(torch.empty(3, 4, device="meta")).half()
    assert (cast.dtype.name, cast.shape, cast.is_meta) == ("float16", (3, 4), True)


def test_numbers_and_arrays_of_numpy_on_either_side() -> None:
    a = torch.arange(6.0).reshape(2, 3)
    x, b = Tensor(a), np.full((2, 3), 2, "f4")
    for ours, theirs in [
        (np.float32(2) * x, 2 * a),
        (x + np.int64(2), a + 2),
        (b + x, a + 2),
        (x - b, a - 2),
        (b / x[:, 1:2], 2 / a[:, 1:2].expand(2, 3)),
        (torch.full((2, 3), 2.0) + x, a + 2),
        (x * torch.full((2, 3), 2.0), a * 2),
    ]:
        assert isinstance(ours, Tensor)
        assert torch.equal(ours.torch(), theirs)


def test_other_objects_are_left_to_themselves() -> None:
    for other in ("text", None, [1, 2], object()):
        with pytest.raises(TypeError, match="unsupported operand"):
            _ = Tensor(torch.zeros(3)) + other


def test_expressions_are_copied_and_pickled() -> None:
    a, b = torch.randn(3, 4), torch.randn(3, 4)
    x, y = Tensor(a), Tensor(b)
    for made in (x + 0.3 * (y - x), x * y, x.half(), sd.cat([x, y]), sd.stack([x, y])):
        for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
            assert torch.equal(again.torch(), made.torch())
    for made in (sd.full((2,), 3.0), sd.where(Tensor(a > 0), x, y)):
        assert torch.equal(pickle.loads(pickle.dumps(made)).torch(), made.torch())


def test_values_are_those_of_when_they_are_read() -> None:
    a = torch.zeros(3)
    half = Tensor(a) * 0.5
    a += 4
    assert half.tolist() == [2.0, 2.0, 2.0]


def test_a_clone_has_elements_of_its_own_to_be_replaced() -> None:
    x = Tensor(torch.zeros(3))
    y = x.clone()
    y.copy_(torch.ones(3))
    assert (x.tolist(), y.tolist()) == ([0.0] * 3, [1.0] * 3)


def test_a_parameter_gives_plain_tensors() -> None:
    made: Any = sd.Parameter(torch.zeros(3)) + 1
    assert type(made) is Tensor
    assert made.requires_grad is False
