"""TorchScript archives, against what `torch.jit.load` makes of them."""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.errors import FormatError, LimitError
from statedict.formats.torchscript import demangled
from statedict.limits import Limits
from tests import real_models
from tests.formats.stored import NAME, index_of
from tests.same import assert_same_tensor, groups

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Net(nn.Module):
    """Everything that a scripted module can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.ReLU())
        self.heads = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3, bias=False)])
        self.heads[1].weight = self.heads[0].weight
        self.steps: torch.Tensor
        self.register_buffer("steps", torch.arange(3.0), persistent=False)
        self.register_parameter("absent", None)
        self.frozen = nn.Parameter(torch.ones(4, 2).t(), requires_grad=False)
        self.constant = torch.ones(2)
        self.scale = 2.5
        self.names = ["a", "b"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.features(x).mean(-1)
        for head in self.heads:
            y = head(y)
        return y + self.steps * self.scale + torch.tensor([1.0, 2.0, 3.0]) + self.constant.sum() + self.frozen.sum()


def script(train: bool = False) -> Any:
    return torch.jit.script(Net().train(train))


def written(module: Any, mobile: bool = False, **options: Any) -> bytes:
    if mobile:
        return module._save_to_buffer_for_lite_interpreter(**options)
    return module.save_to_buffer(**options)


def opened(data: bytes) -> sd.Module:
    return sd.open(data)


def assert_same_module(ours: sd.Module, theirs: Any) -> None:
    for duplicates in (False, True):
        for view in ("named_modules", "named_parameters", "named_buffers"):
            mine = list(getattr(ours, view)(remove_duplicate=duplicates))
            live = list(getattr(theirs, view)(remove_duplicate=duplicates))
            assert [name for name, _ in mine] == [name for name, _ in live], view
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for name, tensor in expected.items():
        assert_same_tensor(state[name], tensor, name)
        assert state[name].requires_grad == tensor.requires_grad or not expected[name].requires_grad
    for (name, mine), (_, live) in zip(ours.named_modules(), theirs.named_modules(), strict=True):
        assert mine.kind == live.original_name, name
        assert mine.training == live.training, name


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("mobile", [False, True], ids=["server", "mobile"])
def test_a_scripted_module_is_the_one_that_torch_loads(train: bool, mobile: bool) -> None:
    data = written(script(train), mobile)
    assert_same_module(opened(data), torch.jit.load(io.BytesIO(data)))


def test_a_traced_module_is_the_one_that_torch_loads() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = written(torch.jit.trace(Net().eval(), torch.ones(1, 2, 8)))
    ours = opened(data)
    assert_same_module(ours, torch.jit.load(io.BytesIO(data)))
    assert ours.features[0].class_name == "torch.nn.modules.conv.Conv1d"  # type: ignore[index]
    assert [1.0, 2.0, 3.0] in [tensor.numpy().tolist() for tensor in ours.CONSTANTS.values()]


def test_classes_print_as_the_live_ones_do() -> None:
    ours = opened(written(script()))
    assert repr(ours.features) == repr(Net().eval().features)
    assert ours.class_name == "tests.formats.test_torchscript.Net"


def test_what_is_tied_is_one_tensor() -> None:
    ours = opened(written(script()))
    assert groups(ours.named_parameters(remove_duplicate=False)) == groups(
        Net().named_parameters(remove_duplicate=False)
    )


def test_attributes_are_read_from_the_pickle_and_from_the_code() -> None:
    ours = opened(written(script()))
    assert (ours.scale, ours.names, ours.absent) == (2.5, ["a", "b"], None)
    assert ours.constant.numpy().tolist() == [1.0, 1.0]
    assert ours.features[0].kernel_size == (3,)  # type: ignore[index]
    assert ours.features[1].momentum == 0.1  # type: ignore[index]


def test_a_frozen_model_shows_its_constants_as_a_module() -> None:
    live = Net().eval()
    data = written(torch.jit.freeze(torch.jit.script(live)))
    assert not list(torch.jit.load(io.BytesIO(data)).parameters())
    weights = [tensor.numpy().tolist() for tensor in opened(data).CONSTANTS.parameters()]
    assert live.get_parameter("heads.0.bias").tolist() in weights


def test_extra_files_and_bytecode_are_told() -> None:
    index = index_of(written(script(), mobile=True, _extra_files={"note.txt": "hello", "big": "x" * 70_000}))
    assert index.format == "torchscript"
    assert index.metadata["extra_files"] == {"note.txt": "hello", "big": "70,000 bytes"}
    assert index.metadata["bytecode"] is True


def test_names_are_demangled() -> None:
    assert demangled("__torch__.torch.nn.modules.conv.___torch_mangle_1.Conv1d") == "torch.nn.modules.conv.Conv1d"
    assert demangled("__torch__.___torch_mangle_40.Net") == "Net"
    assert demangled("torch.nn.Linear") == "torch.nn.Linear"


def test_dynamically_quantised_layers_keep_their_tensors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        live = torch.ao.quantization.quantize_dynamic(  # pyright: ignore[reportDeprecated]
            nn.Sequential(nn.Linear(4, 4)), {nn.Linear}, dtype=torch.qint8
        )
        data = written(torch.jit.script(live))
    assert [module.kind for module in opened(data).modules()] == ["Sequential", "Linear", "LinearPackedParams"]
    assert "qint8" in repr(opened(data).get_submodule("0._packed_params").attributes)


def changed(data: bytes, changes: dict[str, bytes | None]) -> bytes:
    """The archive with members replaced, or (None) left out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            local = info.filename.partition("/")[2]
            content = changes.get(local, old.read(info))
            if content is not None:
                new.writestr(info.filename, content)
    return out.getvalue()


def linear(code: bytes | None) -> bytes:
    """An archive of one linear layer, whose class has other code, or none."""
    data = written(torch.jit.script(nn.Linear(2, 3)))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        # The path depends on what this process has scripted before.
        (path,) = [name.partition("/")[2] for name in archive.namelist() if name.endswith(".py")]
    return changed(data, {path: code})


def test_without_its_code_the_tensors_are_still_there() -> None:
    index = index_of(linear(None))
    assert {name: info.shape for name, info in index.tensors.items()} == {"weight": (3, 2), "bias": (3,)}


def test_code_is_never_run() -> None:
    code = b'class Linear(Module):\n  __parameters__ = [__import__("os").abort(), ]\n  __buffers__ = []\n'
    code += b'  a : Final[int] = __import__("os").abort()\n'
    index = index_of(linear(code))
    assert repr(index.modules[""].attributes["a"]).startswith("__import__")


def test_a_file_without_classes_is_no_reason_to_stop() -> None:
    for code in (
        b"",
        b"\xff\xfe",
        b"class Linear(Module):",
        b"class Linear(Module):\n  __parameters__ = [" + b"[" * 50_000,
    ):
        assert index_of(linear(code)).format == "torchscript"


def test_code_beyond_the_limit_is_refused() -> None:
    with pytest.raises(LimitError, match=rf"^{NAME}: code of `__torch__\.torch\.nn\..*`: has 100,000 bytes"):
        index_of(linear(b"#" * 100_000), limits=Limits(header_bytes=50_000))


def test_constants_in_another_folder_are_missed() -> None:
    data = written(torch.jit.script(nn.Linear(2, 3)))
    assert b"archive/constants.pkl" in data
    with pytest.raises(FormatError, match=r"^net\.pt: the archive lacks `archive/constants\.pkl`"):
        index_of(data.replace(b"archive/constants.pkl", b"another/constants.pkl"))


def test_a_missing_storage_is_named() -> None:
    data = changed(written(torch.jit.script(nn.Linear(2, 3))), {"data/0": None})
    with pytest.raises(FormatError, match="data/0"):
        index_of(data)


@pytest.mark.real
def test_silero_vad_is_what_torch_loads(tmp_path: Path) -> None:
    path = real_models.fetch("silero_vad.jit")
    assert_same_module(sd.open(path), torch.jit.load(path, map_location="cpu"))


def test_a_layer_without_bias_prints_so() -> None:
    """A traced module does not tell which parameters its layers were made without."""
    live = torch.nn.Sequential(torch.nn.Linear(2, 3, bias=False), torch.nn.Linear(3, 1))
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(live, torch.ones(1, 2)), buffer)
    assert [repr(layer) for layer in sd.open(buffer.getvalue()).children()] == [
        "Linear(bias=False)",
        "Linear(bias=True)",
    ]
