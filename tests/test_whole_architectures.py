"""Whole models of transformers' architectures, made tiny with random weights, as `torch.save(model)` writes them."""

import gc
from pathlib import Path

import pytest
import torch

import statedict as sd
from tests import architectures
from tests.same import assert_same_model, assert_same_state_dict

pytestmark = pytest.mark.slow

UNPICKLABLE = {
    # torch itself cannot pickle them whole: they hold local functions or parametrizations.
    *("hubert", "rf_detr", "sew", "sew-d", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-conformer", "wavlm"),
}
OWN_REPR = {
    "ibert": "its layers print the values of tensors",
    "xlstm": "its backend prints its configuration",
}


@pytest.mark.parametrize("name", architectures.names())
def test_the_file_is_the_live_model(name: str, tmp_path: Path) -> None:
    model = architectures.make(name)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    assert_same_state_dict(sd.open(tmp_path / "state.pt").state_dict(), model.state_dict())
    if name in UNPICKLABLE:
        with pytest.raises(Exception, match=r"pickle|parametriz"):
            torch.save(model, tmp_path / "model.pt")
        return
    torch.save(model, tmp_path / "model.pt")
    assert_same_model(sd.open(tmp_path / "model.pt"), model, printed=name not in OWN_REPR)
    del model
    gc.collect()


def test_there_are_enough_of_them() -> None:
    assert len(set(architectures.names()) - UNPICKLABLE - OWN_REPR.keys()) >= 60
