"""How many modules of whole models are named right from their state dict: the goals, and where the answers come from.

`docs/inference.md` has the table, of more families and by family; `docs/inference.py` makes it.
"""

import io

import pytest
import torch
from safetensors.torch import save as save_safetensors

import statedict as sd
from tests import architectures, torch_layers
from tests.kinds import Score, bare

FORMS = ("torch", "safetensors")


@pytest.fixture(scope="module")
def scores() -> dict[str, Score]:
    """Of every architecture, from its state dict as each format keeps it."""
    found = {form: Score() for form in FORMS}
    for name in architectures.names():
        model = architectures.make(name)
        for form, score in found.items():
            score.add(model, ordered=form == "torch")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_of_the_modules_that_hold_tensors_nearly_all_are_named_right(scores: dict[str, Score], form: str) -> None:
    score = scores[form]
    assert score.right > 10_000
    assert score.share_right >= 0.97, score.mistakes.most_common(20)
    assert score.share_wrong < 0.005, score.mistakes.most_common(20)


@pytest.mark.slow
def test_nearly_all_parameters_and_buffers_are_told_apart(scores: dict[str, Score]) -> None:
    for score in scores.values():
        assert score.roles_right > 15_000
        assert score.roles_right / (score.roles_right + score.roles_wrong) > 0.99


@pytest.mark.parametrize("form", FORMS)
def test_layers_without_a_name_are_rather_left_nameless_than_misnamed(form: str) -> None:
    score = Score()
    for layer in torch_layers.every_layer():
        score.add(layer, ordered=form == "torch")
    assert score.right >= 120
    wrong = {live: answer for live, answer, _ in score.mistakes if answer is not None}
    assert wrong == {"RNNBase": "LSTM", "RNNCellBase": "LSTMCell"}  # what they are, but for their name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "llama", "whisper", "resnet", "rt_detr", "t5", "wav2vec2", "mamba"])
def test_a_file_gives_the_answers_that_its_index_gives(name: str) -> None:
    model = architectures.make(name)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    distinct = {id(tensor): name for name, tensor in sorted(model.state_dict(keep_vars=True).items(), reverse=True)}
    stored = {name: model.state_dict()[name].contiguous() for name in distinct.values()}
    for form, content in (("torch", file.getvalue()), ("safetensors", save_safetensors(stored))):
        found = {name: module.kind for name, module in sd.open(content).named_modules()}
        expected = {name: module.kind for name, module in bare(model, ordered=form == "torch").named_modules()}
        assert found == expected
        assert sum(kind is not None for kind in found.values()) > 10
