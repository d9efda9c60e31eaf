"""torch.export's archives of both layouts, against what `torch.export.load` makes of them."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.errors import FormatError, LimitError
from statedict.limits import Limits
from tests.formats.stored import NAME, index_of
from tests.same import assert_same_tensor, groups

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


class Net(nn.Module):
    """Everything that an exported program can hold of a module."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Linear(3, 3)
        self.features = nn.Sequential(first, nn.ReLU(), nn.BatchNorm1d(3))
        self.tied = nn.Linear(3, 3)
        self.tied.weight = first.weight
        self.passing: torch.Tensor
        self.register_buffer("passing", torch.ones(2), persistent=False)
        self.register_buffer("kept", torch.arange(3.0))
        self.constant = torch.full((3,), 2.0)
        self.transposed = nn.Parameter(torch.arange(8.0).reshape(2, 4).bfloat16().t(), requires_grad=False)
        self.rows = nn.Parameter(torch.arange(12.0).reshape(4, 3)[1:3])
        self.unused = nn.Parameter(torch.zeros(0, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.tied(self.features(x)) + self.constant + self.passing.sum() + self.kept
        return y + self.transposed.float().sum() + self.rows.sum()


@pytest.fixture(scope="module")
def program() -> Any:
    return torch.export.export(Net().eval(), (torch.ones(2, 3),))


def current(program: Any) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def old(program: Any) -> bytes:
    """The layout that PyTorch 2.1 to 2.7 wrote."""
    from torch._export.serde.schema import SCHEMA_VERSION
    from torch._export.serde.serialize import serialize

    artifact = serialize(program)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("serialized_exported_program.json", artifact.exported_program)
        archive.writestr("serialized_state_dict.pt", artifact.state_dict)
        archive.writestr("serialized_constants.pt", artifact.constants)
        archive.writestr("serialized_example_inputs.pt", artifact.example_inputs)
        archive.writestr("version", ".".join(map(str, SCHEMA_VERSION)))
    return buffer.getvalue()


LAYOUTS = pytest.mark.parametrize("save", [current, old], ids=["current", "old"])


@LAYOUTS
def test_it_is_what_torch_loads(program: Any, save: Callable[[Any], bytes]) -> None:
    data = save(program)
    theirs, ours = torch.export.load(io.BytesIO(data)), sd.open(data)
    assert index_of(data).format == "pt2"
    for view in ("named_parameters", "named_buffers"):
        mine, live = dict(getattr(ours, view)(remove_duplicate=False)), dict(getattr(theirs, view)())
        assert set(live) <= set(mine)
        for name, tensor in live.items():
            assert_same_tensor(mine[name], tensor, name)
            assert mine[name].requires_grad == tensor.requires_grad
    state = ours.state_dict()
    assert state.keys() == theirs.state_dict.keys()
    for name, tensor in theirs.state_dict.items():
        assert_same_tensor(state[name], tensor, name)


@LAYOUTS
def test_it_is_the_module_that_was_exported(program: Any, save: Callable[[Any], bytes]) -> None:
    ours, live = sd.open(save(program)), Net()
    for view in ("named_parameters", "named_buffers"):
        mine = groups(getattr(ours, view)(remove_duplicate=False))
        assert sorted(map(sorted, mine)) == sorted(map(sorted, groups(getattr(live, view)(remove_duplicate=False))))
    assert ours.constant.numpy().tolist() == [2.0, 2.0, 2.0]
    assert ours.class_name == f"{__name__}.Net"
    assert ours.get_submodule("features.2").class_name == "torch.nn.modules.batchnorm.BatchNorm1d"
    assert [name for name, _ in ours.features.named_children()] == ["0", "1", "2"]


def test_versions_are_told(program: Any) -> None:
    assert index_of(current(program)).metadata["torch_version"] == torch.__version__


def test_nothing_of_the_weights_is_read(program: Any) -> None:
    large = torch.export.export(nn.Linear(512, 1024), (torch.ones(1, 512),))
    from tests.formats.stored import CountingSource

    source = CountingSource(current(large))
    index_of(source)
    assert source.size > 2 << 20
    assert source.read_bytes < 100_000


def changed(data: bytes, changes: dict[str, Any]) -> bytes:
    """The archive with members replaced, given a function of the old ones, or (None) left out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
        for info in before.infolist():
            content: bytes | None = before.read(info)
            for ending, change in changes.items():
                if info.filename.endswith(ending):
                    content = change and change(content)
            if content is not None:
                after.writestr(info.filename, content)
    return out.getvalue()


WEIGHTS = "model_weights_config.json"


def with_entry(**fields: Any) -> Callable[[bytes], bytes]:
    """A change of the fields of the description of `kept`."""

    def change(text: bytes) -> bytes:
        config = json.loads(text)
        config["config"]["kept"]["tensor_meta"] |= fields
        return json.dumps(config).encode()

    return change


HOSTILE: dict[str, Any] = {
    "no weights' description": {WEIGHTS: None},
    "a description that is no JSON": {WEIGHTS: lambda _: b"{"},
    "a description without end": {WEIGHTS: lambda _: b"[" * 100_000},
    "a description of nothing": {WEIGHTS: lambda _: b'{"config": {"w": 3}}'},
    "a tensor without a description": {WEIGHTS: lambda _: b'{"config": {"w": {"path_name": "weight_0"}}}'},
    "a tensor in another place": {WEIGHTS: lambda _: b'{"config": {"w": {"path_name": "../../x", "tensor_meta": {}}}}'},
    "no weights": {"weights/weight_0": None},
    "weights cut short": {"weights/weight_0": lambda _: b""},
    "no model": {"models/model.json": None},
    "a model that is no JSON": {"models/model.json": lambda _: b"\xff"},
    "an unknown type": {WEIGHTS: with_entry(dtype=99)},
    "a type that is a text": {WEIGHTS: with_entry(dtype="float")},
    "a size that is a symbol": {WEIGHTS: with_entry(sizes=[{"as_expr": "s0"}])},
    "a size that is a fraction": {WEIGHTS: with_entry(sizes=[{"as_int": 3.0}])},
    "a negative size": {WEIGHTS: with_entry(sizes=[{"as_int": -3}])},
    "a size beyond the weights": {WEIGHTS: with_entry(sizes=[{"as_int": 4}])},
    "a stride beyond the weights": {WEIGHTS: with_entry(strides=[{"as_int": 2}])},
    "a negative stride": {WEIGHTS: with_entry(strides=[{"as_int": -1}])},
    "one stride too many": {WEIGHTS: with_entry(strides=[{"as_int": 1}, {"as_int": 1}])},
    "an offset beyond the weights": {WEIGHTS: with_entry(storage_offset={"as_int": 1})},
    "a negative offset": {WEIGHTS: with_entry(storage_offset={"as_int": -1})},
    "a sparse layout": {WEIGHTS: with_entry(layout=1)},
}


@pytest.mark.parametrize("changes", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_archive_that_contradicts_itself_is_refused(program: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=rf"^{NAME}: ") as caught:
        index_of(changed(current(program), changes))
    assert type(caught.value) is FormatError
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


def test_a_graph_that_says_nothing_leaves_the_weights(program: Any) -> None:
    index = index_of(changed(current(program), {"models/model.json": lambda _: b'{"graph_module": {"graph": 3}}'}))
    assert index.tensors.keys() == program.state_dict.keys()
    assert "kept" in index.modules[""].buffers
    assert "rows" in index.modules[""].parameters


def test_a_description_beyond_the_limit(program: Any) -> None:
    with pytest.raises(LimitError, match="header_bytes"):
        index_of(current(program), limits=Limits(header_bytes=5_000))


def test_several_programs_are_modules() -> None:
    from torch.export.pt2_archive._package import package_pt2

    one = torch.export.export(nn.Linear(2, 3), (torch.ones(1, 2),))
    buffer = io.BytesIO()
    package_pt2(buffer, exported_programs={"first": one, "second": one})
    ours = sd.open(buffer.getvalue())
    assert [name for name, _ in ours.named_parameters(remove_duplicate=False)] == [
        f"{model}.{name}" for model in ("first", "second") for name in ("weight", "bias")
    ]


def test_the_table_of_types_is_torchs() -> None:
    from torch._export.serde.serialize import _TORCH_TO_SERIALIZE_DTYPE

    from statedict.formats._exported import _SCALAR_TYPES

    theirs = {int(number): str(dtype).removeprefix("torch.") for dtype, number in _TORCH_TO_SERIALIZE_DTYPE.items()}
    assert theirs == _SCALAR_TYPES
