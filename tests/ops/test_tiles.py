"""Pictures of tensors: every pixel is what numpy says of the elements under it, or of those that were looked at."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import statedict as sd
from statedict.ops.tiles import Picture, Plane, Window, picture, size_of
from statedict.tree.tensor import Tensor

ROWS = Plane((0,), (1,))


def whole(values: Any, plane: Plane, height: int, width: int, window: Window | None = None) -> Picture:
    tensor = Tensor(values)
    rows, columns = size_of(tensor.shape or (), plane)
    return picture(tensor.info, plane, window or Window(0, rows, 0, columns), height, width)


def expected(matrix: Any, height: int, width: int, how: Any) -> Any:
    down = [at * len(matrix) // height for at in range(height + 1)]
    across = [at * matrix.shape[1] // width for at in range(width + 1)]
    return np.array(
        [[how(matrix[a:b, c:d]) for c, d in itertools.pairwise(across)] for a, b in itertools.pairwise(down)]
    )


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (40, 33), (13, 33), (40, 4)])
def test_pixels_are_means_and_extremes(height: int, width: int) -> None:
    matrix = np.random.default_rng(0).normal(size=(40, 33)).astype("f4")
    found = whole(matrix, ROWS, height, width)
    for got, how in ((found.mean, np.mean), (found.low, np.min), (found.high, np.max)):
        np.testing.assert_allclose(got, expected(matrix.astype("f8"), height, width, how), rtol=1e-12)
    assert (found.seen, found.total) == (matrix.size, matrix.size)
    assert not found.unusual.any()


def test_a_window_has_no_more_pixels_than_elements() -> None:
    matrix = np.arange(600.0).reshape(20, 30)
    found = whole(matrix, ROWS, 256, 256, Window(5, 9, 28, 30))
    assert found.mean.tolist() == matrix[5:9, 28:30].tolist()


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "uint8", "int64", "float16", "bfloat16", "float32", "float64", "complex64", "float8_e4m3fn"],
)
def test_any_element_type(dtype: str) -> None:
    torch.manual_seed(0)
    values = (torch.randn(6, 9) * 3).to(getattr(torch, dtype))
    found = whole(values, ROWS, 6, 9)
    wanted = values.abs() if dtype == "complex64" else values
    assert found.mean.tolist() == wanted.to(torch.float64).tolist()


def test_small_numbers_that_share_bytes() -> None:
    from ml_dtypes import int4

    matrix = (np.arange(35) % 15 - 7).reshape(5, 7).astype(int4)
    found = whole(matrix, ROWS, 5, 7, Window(1, 4, 1, 6))
    assert found.mean.tolist() == matrix[1:4, 1:6].astype("f8").tolist()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_transposed_tensors(order: tuple[int, int]) -> None:
    values = torch.randn(50, 70).permute(order)
    found = whole(values, ROWS, 9, 11)
    np.testing.assert_allclose(found.mean, expected(values.double().numpy(), 9, 11, np.mean), rtol=1e-12)


def test_a_kernels_filters_side_by_side() -> None:
    kernel = torch.randn(4, 3, 5, 2)
    found = whole(kernel, Plane((0, 2), (1, 3)), 20, 6)
    assert found.mean.tolist() == kernel.permute(0, 2, 1, 3).reshape(20, 6).double().tolist()


def test_a_row_of_values() -> None:
    values = np.arange(10.0)
    found = whole(values, Plane((), (0,)), 1, 5)
    assert found.mean.tolist() == [[0.5, 2.5, 4.5, 6.5, 8.5]]


def test_two_small_floats_in_a_byte(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F4","shape":[2,4],"data_offsets":[0,4]}}'
    path = tmp_path / "f4.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes([0x21, 0x43, 0x65, 0x97]))
    tensor = sd.open(path).get_parameter("w")
    found = picture(tensor.info, ROWS, Window(0, 2, 0, 4), 2, 4)
    assert found.mean.tolist() == tensor.numpy().astype("f8").tolist()


def test_one_slice_of_many() -> None:
    values = torch.randn(4, 3, 5, 2)
    found = whole(values, Plane((3,), (1,), ((0, 2), (2, 4))), 2, 3)
    assert found.mean.tolist() == values[2, :, 4, :].T.double().tolist()


def test_what_is_not_finite_is_marked_and_left_out() -> None:
    matrix = np.ones((4, 4))
    matrix[0, 0], matrix[2, 3], matrix[2, 2] = np.nan, np.inf, 5
    matrix[0:2, 2:4] = np.nan
    found = whole(matrix, ROWS, 2, 2)
    assert found.unusual.tolist() == [[1, 1], [0, 2]]
    assert found.mean[0, 0] == 1
    assert np.isnan(found.mean[0, 1])
    assert np.isnan(found.low[0, 1])
    assert (found.low[1, 1], found.high[1, 1], found.mean[1, 1]) == (1, 5, 7 / 3)


@pytest.mark.parametrize("shape", [(3000, 40), (40, 3000), (300, 400)])
def test_of_what_is_large_a_part_is_looked_at(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every element is its row's number: what a pixel says lies between the numbers of its rows."""
    monkeypatch.setattr("statedict.ops.tiles._MOST", 1 << 14)
    matrix = np.repeat(np.arange(shape[0], dtype="f4")[:, None], shape[1], axis=1)
    found = whole(matrix, ROWS, 10, 10)
    assert 0 < found.seen < found.total == matrix.size
    rows = found.mean.shape[0]
    for at in range(rows):
        assert at * shape[0] // rows <= found.low[at].min() <= found.high[at].max() < (at + 1) * shape[0] // rows


def test_a_sparse_file_of_ten_gigabytes_is_drawn_from_little(tmp_path: Path) -> None:
    rows, columns = 50_000, 50_000
    file = tmp_path / "large.safetensors"
    header = b'{"w":{"dtype":"F32","shape":[50000,50000],"data_offsets":[0,10000000000]}}'
    header += b" " * (-len(header) % 8)
    with file.open("wb") as out:
        out.write(len(header).to_bytes(8, "little") + header)
        out.truncate(8 + len(header) + 4 * rows * columns)
    tensor = sd.open(file).get_parameter("w")
    found = picture(tensor.info, ROWS, Window(0, rows, 0, columns), 256, 256)
    assert found.total == rows * columns
    assert found.seen * 4 <= 1 << 26
    assert not found.mean.any()


def test_what_is_no_plane_or_window() -> None:
    tensor = Tensor(np.ones((3, 4)))
    with pytest.raises(ValueError, match="are not the axes of"):
        size_of((3, 4), Plane((0,), (0,)))
    with pytest.raises(ValueError, match="index 4 is out of bounds for dimension 1 with size 4"):
        size_of((3, 4), Plane((0,), (), ((1, 4),)))
    with pytest.raises(ValueError, match=r"rows 0 to 9 and columns 0 to 4 are not in 3 x 4"):
        picture(tensor.info, ROWS, Window(0, 9, 0, 4), 3, 4)
