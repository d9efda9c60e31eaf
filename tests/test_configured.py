"""Kinds from `config.json`: those of the live model, of every architecture; and hostile configurations, refused."""
# pyright: reportPrivateUsage=false

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import statedict as sd
from statedict import configured as module
from statedict.configured import configured
from statedict.errors import FormatError, LimitError, MissingExtraError, StatedictError
from statedict.interop import transformers as program
from tests import architectures
from tests.commands import run
from tests.same import assert_same_state_dict
from tests.saved_models import change, in_process, kinds, saved

_RENAMED = """
    afmoe altclip aria audio-spectrogram-transformer axk1 audioflamingo3 axk2 bailing_hybrid beit cohere2_moe cohere_asr
    cosmos3_omni deepseek_v2 deit dinov2 dinov2_with_registers dinov3_convnext dinov3_vit
"""
RENAMED = frozenset(_RENAMED.split())
"""Architectures whose files have other names than their modules: experts apart that the model has as one, say."""
OWN_REPR = frozenset({"ibert", "xlstm"})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_asked", in_process)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that no test changes."""
    folder = tmp_path_factory.mktemp("tiny")
    saved("llama", folder)
    return folder


# Right


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", [name for name in architectures.names()[:64] if name not in RENAMED])
def test_the_tree_is_that_of_the_live_model(name: str, tmp_path: Path) -> None:
    live = saved(name, tmp_path)
    model = sd.open(tmp_path, kinds="config")
    assert kinds(model) == kinds(live)
    assert not any(each.inferred for each in model.modules())
    if name not in OWN_REPR:
        assert repr(model) == repr(live)
    assert_same_state_dict(model.state_dict(), live.state_dict())
    parameters = {name: each.requires_grad for name, each in model.named_parameters(remove_duplicate=False)}
    assert parameters == {name: each.requires_grad for name, each in live.named_parameters(remove_duplicate=False)}


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", sorted(RENAMED))
def test_of_other_names_than_the_models_too_most_is_told(name: str, tmp_path: Path) -> None:
    live = saved(name, tmp_path)
    model = sd.open(tmp_path, kinds="config")
    assert model.kind == type(live).__name__
    known = {type(each).__name__ for each in live.modules()}
    told = [each for each in model.modules() if each.kind is not None and not each.inferred]
    assert {each.kind for each in told} <= known
    assert len(told) > 0.6 * len(list(live.modules()))
    assert sorted(sd.open(tmp_path).state_dict()) == sorted(
        set(model.state_dict()) & set(sd.open(tmp_path).state_dict())
    )


@pytest.mark.slow
def test_in_a_process_of_its_own(tiny: Path) -> None:
    live = architectures.make("llama")
    assert repr(sd.open(tiny, kinds="config")) == repr(live)
    shown = run("tree", str(tiny), "--config-kinds", "--unfold").out
    assert "LlamaRMSNorm" in shown
    assert "?" not in shown


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("tied", [True, False])
def test_saved_without_its_head(tmp_path: Path, tied: bool) -> None:
    live = saved("llama", tmp_path)
    live.model.save_pretrained(tmp_path)
    for left in tmp_path.glob("model-*"):
        left.unlink()
    (tmp_path / "model.safetensors.index.json").unlink(missing_ok=True)
    live.model.save_pretrained(tmp_path)
    change(tmp_path, architectures=["LlamaForCausalLM"], tie_word_embeddings=tied)
    model = sd.open(tmp_path, kinds="config")
    assert {name: kind for name, kind in kinds(model).items() if name} == {
        name: kind for name, kind in kinds(live.model).items() if name
    }
    assert model.kind == "LlamaModel"


@pytest.mark.usefixtures("quick")
def test_the_bare_models_class_for_a_file_with_a_head(tmp_path: Path) -> None:
    live = saved("llama", tmp_path, architectures=["LlamaModel"])
    model = sd.open(tmp_path, kinds="config")
    assert kinds(model.get_submodule("model")) == kinds(live.model)
    assert model.kind is None
    assert model.get_submodule("lm_head").inferred


@pytest.mark.usefixtures("quick")
def test_a_module_of_other_shapes_stays_inferred(tmp_path: Path) -> None:
    saved("llama", tmp_path, intermediate_size=48)
    model = sd.open(tmp_path, kinds="config")
    layer = model.get_submodule("model.layers.0")
    assert {name: each.inferred for name, each in layer.get_submodule("mlp").named_children()} == {
        "gate_proj": True, "up_proj": True, "down_proj": True,
    }  # fmt: skip
    assert layer.get_submodule("self_attn").kind == "LlamaAttention"
    assert layer.get_submodule("self_attn.q_proj").inferred is False


@pytest.mark.usefixtures("quick")
def test_tied_names_that_the_file_leaves_out(tmp_path: Path) -> None:
    live = saved("gpt2", tmp_path)
    assert "lm_head.weight" not in sd.open(tmp_path).state_dict()
    model = sd.open(tmp_path, kinds="config")
    assert model.lm_head.weight is model.transformer.wte.weight
    assert len(list(model.parameters())) == len(list(live.parameters()))


@pytest.mark.usefixtures("quick")
def test_other_tensors_are_kept(tmp_path: Path) -> None:
    saved("gpt2", tmp_path)
    (file,) = tmp_path.glob("model*00001-of-*") if (tmp_path / "model.safetensors.index.json").exists() else (None,)
    assert file is not None
    architectures.make("gpt2").save_pretrained(tmp_path / "whole")  # type: ignore[operator]
    stored = load_file(tmp_path / "whole" / "model.safetensors") | {"value_head.weight": torch.ones(1, 32)}
    save_file(stored, tmp_path / "whole" / "model.safetensors", {"format": "pt"})
    model = sd.open(tmp_path / "whole", kinds="config")
    assert model.value_head.weight.shape == (1, 32)
    assert model.transformer.kind == "GPT2Model"


# Wrong


@pytest.mark.parametrize(
    "names", [["os.system"], ["pipeline"], ["AutoModel"], ["Trainer"], ["MyOwnModel"], "LlamaModel", [3], ["__class__"]]
)
@pytest.mark.usefixtures("quick")
def test_only_models_of_transformers_itself(tiny: Path, tmp_path: Path, names: Any) -> None:
    copied(tiny, tmp_path, architectures=names, auto_map={"AutoModel": "modeling.MyOwnModel"})
    (tmp_path / "modeling.py").write_text("raise SystemExit('run')")
    with pytest.raises(program.Refused, match="its own code is not run"):
        sd.open(tmp_path, kinds="config")


def copied(folder: Path, to: Path, **fields: Any) -> None:
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    change(to, **fields)


@pytest.mark.parametrize("names", [[], None, ""])
def test_no_architectures(tiny: Path, tmp_path: Path, names: Any) -> None:
    copied(tiny, tmp_path, architectures=names)
    with pytest.raises(StatedictError, match=r"has no `config.json` that names its `architectures`"):
        sd.open(tmp_path, kinds="config")


def test_no_folder(tiny: Path) -> None:
    with pytest.raises(StatedictError, match="open the folder that has one"):
        sd.open(next(tiny.glob("*.safetensors")), kinds="config")


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_size": "many"},
        {"hidden_size": 10**12, "head_dim": 10**12},
        {"hidden_act": "os.system"},
        {"hidden_size": -1},
    ],
)
@pytest.mark.usefixtures("quick")
def test_fields_that_no_model_can_be_built_from(tiny: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    copied(tiny, tmp_path, **fields)
    with pytest.raises(program.Refused, match="does not fit `LlamaForCausalLM`"):
        sd.open(tmp_path, kinds="config")


@pytest.mark.parametrize(
    "fields", [{"num_hidden_layers": 10**9}, {"nested": {"n_layer": [1, 10**9]}}, {"num_labels": 10**9}]
)
def test_counts_beyond_the_folders_tensors(tiny: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    copied(tiny, tmp_path, **fields)
    with pytest.raises(LimitError, match=r"`config.json` asks for 1,000,000,000 `\w+`, but there are \d+ tensors"):
        sd.open(tmp_path, kinds="config")


@pytest.mark.usefixtures("quick")
def test_more_modules_than_tensors_could_fill(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_MODULES", 20)
    monkeypatch.setattr(module, "_MODULES_A_TENSOR", 0)
    with pytest.raises(program.TooMuch, match="asks for more than 20 modules"):
        sd.open(tiny, kinds="config")


@pytest.mark.usefixtures("quick")
def test_another_models_configuration(tiny: Path, tmp_path: Path) -> None:
    copied(tiny, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["ResNetModel"], "model_type": "resnet"}))
    with pytest.raises(StatedictError, match="none of its tensors is one of `ResNetModel`"):
        sd.open(tmp_path, kinds="config")


def test_kinds_of_another_word(tiny: Path) -> None:
    with pytest.raises(ValueError, match="`kinds` is 'guess'"):
        sd.open(tiny, kinds="guess")  # type: ignore[arg-type]


def test_without_transformers(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'statedict\[transformers\]'"):
        sd.open(tiny, kinds="config")


# The process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"architectures": ["os.system"]}, FormatError, "its own code is not run"),
        ({"hidden_act": "os.system"}, FormatError, "`config.json` does not fit `LlamaForCausalLM`: "),
        ({"vocab_size": 10**30}, FormatError, "`config.json` does not fit `LlamaForCausalLM`: "),
    ],
)
def test_what_the_process_says(
    tiny: Path, tmp_path: Path, fields: dict[str, Any], error: type[Exception], said: str
) -> None:
    copied(tiny, tmp_path, **fields)
    with pytest.raises(error, match=said):
        sd.open(tmp_path, kinds="config")


@pytest.mark.slow
def test_one_that_is_nested_deep(tiny: Path, tmp_path: Path) -> None:
    depth = 900
    copied(tiny, tmp_path)
    text = (tmp_path / "config.json").read_text().rstrip().removesuffix("}")
    (tmp_path / "config.json").write_text(text + ', "a": ' + '{"a": ' * depth + "1" + "}" * depth + "}")
    with pytest.raises(LimitError, match=r"`config.json` is nested too deep"):
        sd.open(tmp_path, kinds="config")


@pytest.mark.slow
def test_one_that_takes_too_long_is_stopped(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.5)
    with pytest.raises(LimitError, match=r"took longer than 0\.5 s"):
        sd.open(tiny, kinds="config")


@pytest.mark.slow
def test_one_that_dies_says_why(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PROGRAM", "statedict.interop.no_such_program")
    with pytest.raises(FormatError, match=r"nothing can be built from `config.json`: .*no_such_program"):
        sd.open(tiny, kinds="config")


@pytest.mark.slow
def test_nothing_of_the_working_folder_is_run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(tiny, tmp_path)
    for name in ("torch", "transformers", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)
    assert sd.open(".", kinds="config").kind == "LlamaForCausalLM"


@pytest.mark.slow
@pytest.mark.parametrize(
    "act", ["socket.create_connection(('127.0.0.1', 9))", "subprocess.run(['true'])", "os.system('true')"]
)
def test_the_doors_are_shut(act: str) -> None:
    code = f"import os, socket, subprocess; from statedict.interop import transformers as t; t._shut(); {act}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Refused: leads to what is not in it" in done.stderr


@pytest.mark.slow
def test_no_connection_is_opened(tiny: Path, tmp_path: Path) -> None:
    """Nor even tried, where the configuration names weights and code elsewhere."""
    elsewhere = {"backbone": "microsoft/resnet-50", "use_pretrained_backbone": True, "use_timm_backbone": True}
    copied(tiny, tmp_path, **elsewhere, _name_or_path="meta/llama", attn_implementation="kernels-community/flash-attn")
    index = sd.open(tmp_path).state_dict()
    question = {
        "config": json.loads((tmp_path / "config.json").read_text()),
        "tensors": {name: tensor.shape for name, tensor in index.items()},
        "most": 1000,
    }
    code = (
        "import sys\ntried = []\n"
        # urllib3 finds out as it is loaded whether there is IPv6.
        "here = lambda event, args: event == 'socket.bind' and args[1][0] in ('::1', '127.0.0.1')\n"
        "keep = lambda event, args: event.startswith('socket.') and not here(event, args)\n"
        "sys.addaudithook(lambda event, args: tried.append(event) if keep(event, args) else None)\n"
        "from statedict.interop import transformers\n"
        "transformers.main()\nprint('\\n', [event for event in tried if event != 'socket.__new__'], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(question), capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert "LlamaForCausalLM" in done.stdout, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_the_index_is_as_valid_as_before(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from statedict.opening import read_index

    monkeypatch.setattr(module, "_asked", in_process)
    index = configured(read_index(tiny))
    assert index.validate().modules[""].attributes["config"]["model_type"] == "llama"
