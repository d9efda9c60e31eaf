"""`match` of whatever can be opened: files, live models, dicts, configurations; and rules that are written."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict import configured
from statedict.editing import edits_of
from tests import architectures, planted, saved_models
from tests.remote.servers import web_server


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A folder with nothing but the `config.json` of a tiny Llama."""
    fields = architectures.shrunk("llama").to_dict() | {"architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    return tmp_path


def test_whatever_form_they_have(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    state = planted.prefixed(dict(net.state_dict()))
    torch.save(state, tmp_path / "theirs.pt")
    for source in (tmp_path / "theirs.pt", str(tmp_path / "theirs.pt"), state, sd.open(state)):
        for target in (net, sd.open(net), net.state_dict()):
            found = sd.match(source, target)
            assert found.complete
            assert [str(rule) for rule in found.rules] == ["model._orig_mod.** = **"]


def test_a_live_models_values_are_random_unless_said_otherwise() -> None:
    net = nn.Linear(3, 3)
    state = {"a.weight": net.weight.detach().clone(), "a.bias": net.bias.detach().clone()}
    assert sd.match(state, net).proved is False
    assert sd.match(state, net, values=True).proved is True
    assert sd.match(state, net.state_dict()).proved is True
    assert sd.match(state, net.state_dict(), values=False).proved is False


def test_a_configuration(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "_asked", saved_models.in_process)
    state = planted.state("llama")
    for target in (config, config / "config.json", str(config)):
        found = sd.match(planted.synonyms(state), target)
        assert found.complete
        tree = found.apply(sd.open(planted.synonyms(state)))
        assert list(tree.state_dict()) == list(state)
        assert tree.get_submodule("model.layers.0.self_attn").kind == "LlamaAttention"


def test_a_configuration_on_a_web_server(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "_asked", saved_models.in_process)
    state = planted.state("llama")
    with web_server(config) as server:
        assert sd.match(planted.synonyms(state), f"{server.url}/config.json").complete
        with pytest.raises(sd.StatedictError, match=r"other\.json: .*not found|no such file"):
            sd.match(state, f"{server.url}/other.json")


def test_metas_llama_is_turned_where_the_configuration_tells_the_heads(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.naming_pairs import MetaLlama

    monkeypatch.setattr(configured, "_asked", saved_models.in_process)
    found = sd.match(dict(MetaLlama().state_dict()), config)
    assert [str(rule) for rule in found.rules if rule.rotary] == [
        f"layers.{{i}}.attention.w{n}.weight = model.layers.{{i}}.self_attn.{n}_proj.weight (rotary=2)" for n in "qk"
    ]
    state = {name: tensor.clone() for name, tensor in architectures.make("llama").state_dict().items()}
    assert {each.target.split(".")[4] for each in sd.match(dict(MetaLlama().state_dict()), state).ambiguous} == {
        "q_proj",
        "k_proj",
    }


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "no JSON": ("{", sd.FormatError, "config.json: is no JSON, so no configuration of a model"),
    "no architectures": ("{}", sd.StatedictError, "config.json: names no `architectures`"),
    "too many": ('{"architectures": ["LlamaModel"], "num_layers": 9000000}', sd.LimitError, "asks for 9,000,000"),
    "of none": ('{"architectures": ["Nothing"]}', sd.FormatError, "names as its `architectures`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_configurations_that_are_none(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(question: dict[str, Any], where: str) -> dict[str, Any]:
        from statedict.interop.transformers import Refused

        try:
            return saved_models.in_process(question, where)
        except Refused as error:
            raise sd.FormatError(f"{where}: `config.json` {error}") from None

    monkeypatch.setattr(configured, "_asked", asked)
    text, kind, said = WRONG[case]
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(kind) as error:
        sd.match({"a": torch.zeros(1)}, tmp_path)
    assert said in str(error.value)


@pytest.mark.slow
def test_a_configuration_in_a_process_of_its_own(config: Path) -> None:
    assert sd.match(planted.state("llama"), config).complete


def test_rules_are_written(tmp_path: Path) -> None:
    net = nn.Linear(3, 4)
    found = sd.match({"a.weight": torch.zeros(4, 3), "a.bias": torch.zeros(4)}, net)
    sd.write_rules(found, tmp_path / "rules.toml")
    assert edits_of(str(tmp_path / "rules.toml")) == [("rename", "a.*=*")]
    with pytest.raises(sd.WriteError):
        sd.write_rules(found, tmp_path / "no" / "rules.toml")
