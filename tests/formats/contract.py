"""What every format must do, whatever its bytes are: its test class inherits this and says how to make a file."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from statedict.errors import FormatError, StatedictError
from statedict.index import Index
from tests.formats.stored import NAME, CountingSource, assert_same_tensors, index_of

NAMES = ["layer.weight", "ü.ключ.鍵", "a b\tc", "0", "x" * 300]
ODD_NAMES = ["a..b", "", ".w", "a.", "..", "ends in a\nline", "tensor", "\x00", "__class__"]
SMALL = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2], dtype=torch.int16)}


class FormatContract(ABC):
    """Inherit, name it `Test…`, and give `format` and `make`. Samples come from the reference library or a hand."""

    format: str
    shuffles = False
    """Whether the reference writer puts tensors into an order of its own."""
    padding = 0
    """Bytes at a file's end that mean nothing: it is whole without them."""

    @abstractmethod
    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        """A file of these tensors."""

    def boundaries(self, data: bytes) -> Sequence[int]:
        """Where the parts of a file end, beyond those that every byte of a small file covers."""
        return [len(data) // 2]

    def expect(self, tensors: dict[str, torch.Tensor]) -> Index:
        index = index_of(self.make(tensors))
        assert index.format == self.format
        if self.shuffles:
            tensors = {name: tensors[name] for name in sorted(tensors, key=list(index.tensors).index)}
        assert_same_tensors(index, tensors)
        return index

    def test_an_empty_checkpoint(self) -> None:
        assert not self.expect({}).tensors

    def test_a_scalar(self) -> None:
        self.expect({"scalar": torch.tensor(3.5)})

    def test_tensors_without_elements(self) -> None:
        self.expect({"none": torch.empty(0), "rows": torch.empty(0, 3), "columns": torch.empty(3, 0)})

    @pytest.mark.parametrize("names", [NAMES, ODD_NAMES], ids=["unicode", "odd"])
    def test_names_are_kept_as_they_are(self, names: list[str]) -> None:
        self.expect({name: torch.full((2,), number) for number, name in enumerate(names)})

    def test_a_thousand_tensors(self) -> None:
        self.expect({f"layers.{number}.weight": torch.full((3,), number) for number in range(1000)})

    def test_what_a_description_tells_is_read_and_nothing_else(self) -> None:
        source = CountingSource(self.make({"w": torch.zeros(1 << 22)}))
        index_of(source)
        assert source.size > 16 << 20
        assert source.read_bytes < 400_000

    def test_every_prefix_of_a_small_file_is_refused_in_one_line_with_its_name(self) -> None:
        data = self.make(SMALL)
        whole = list(index_of(data).tensors)
        complete = 0
        for size in range(len(data)):
            try:
                complete += list(index_of(data[:size]).tensors) == whole
            except FormatError as error:
                assert_told(error)
        assert complete <= self.padding

    def test_a_large_file_is_refused_at_its_boundaries(self) -> None:
        data = self.make({"w": torch.zeros(50_000), "b": torch.zeros(70_000)})
        for boundary in self.boundaries(data):
            for size in (boundary - 1, boundary, boundary + 1):
                with pytest.raises(FormatError) as caught:
                    index_of(data[:size])
                assert_told(caught.value)

    @given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8))
    @example(flips=[(0.0, 255)])
    @settings(max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.differing_executors])
    def test_flipped_bytes_raise_nothing_but_our_errors(self, flips: list[tuple[float, int]]) -> None:
        data = bytearray(self.make(SMALL))
        for where, mask in flips:
            data[math.floor(where * len(data))] ^= mask
        try:
            index = index_of(bytes(data), self.format)
            for info in index.tensors.values():
                if info.extent is not None:
                    info.extent.read()
            repr({name: dict(module.attributes) for name, module in index.modules.items()})
        except StatedictError as error:
            assert_told(error)


def assert_told(error: StatedictError) -> None:
    """The error names the file, says something, and takes one line."""
    assert str(error).startswith(f"{NAME}: "), error
    assert len(str(error).splitlines()) == 1, error
    assert len(str(error)) < 600, error
