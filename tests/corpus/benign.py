"""Files that nobody means harm with, as the libraries write them whose files are opened every day."""

import argparse
import importlib
import importlib.util
import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _net() -> Any:
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2), nn.LSTM(2, 2))


def _torch(folder: Path) -> None:
    import numpy as np
    import torch

    net = _net()
    optimizer = torch.optim.AdamW(net.parameters())
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    state = {"python": random.getstate(), "numpy": np.random.RandomState(0).get_state(), "cpu": torch.get_rng_state()}
    torch.save(net.state_dict(), folder / "state.pt")
    torch.save(net, folder / "whole.pt")
    torch.save(net.state_dict(), folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    torch.save(scheduler.state_dict(), folder / "scheduler.pt")
    torch.save(state, folder / "rng_state.pth")
    odd = {
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.ones(2, device="meta"),
        "dtype": torch.bfloat16,
        "size": torch.Size([1]),
    }
    odd |= {"quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "device": torch.device("cpu")}
    torch.save(odd, folder / "odd.pt")
    with (folder / "tensors.pkl").open("wb") as file:
        pickle.dump(net.state_dict(), file)


def _timm(folder: Path) -> None:
    """As timm's `CheckpointSaver` lays a checkpoint out."""
    import torch

    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    held = {
        "epoch": 3,
        "arch": "resnet18",
        "state_dict": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "version": 2,
    }
    held |= {
        "args": argparse.Namespace(lr=0.1, model="resnet18", aug=[1, 2]),
        "metric": 0.5,
        "amp_scaler": {"scale": 1.0},
    }
    torch.save(held, folder / "timm.pth.tar")


def _exported(folder: Path) -> None:
    import torch

    torch.jit.save(torch.jit.script(_net()[:3]), folder / "script.pt")
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), folder / "exported.pt2")


def _transformers(folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel, TrainingArguments

    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=10)
    model = BertModel(config)
    model.save_pretrained(folder / "bert")
    torch.save(model.state_dict(), folder / "bert" / "pytorch_model.bin")
    if importlib.util.find_spec("accelerate"):
        torch.save(TrainingArguments("x", use_cpu=True), folder / "bert" / "training_args.bin")
    template = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] | trim }}{% endfor %}"
    (folder / "bert" / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))


def _lightning(folder: Path) -> None:
    if importlib.util.find_spec("lightning") is None:
        return
    import torch

    lightning: Any = importlib.import_module("lightning")
    called: Any = importlib.import_module("lightning.pytorch.callbacks")
    base: Any = lightning.LightningModule

    class Net(base):
        def __init__(self, width: int = 2) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.fc = torch.nn.Linear(width, 2)

        def training_step(self, batch: Any, _at: int) -> Any:
            loss = self.fc(batch[0]).sum()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(4, 2)))
    callbacks = [called.EarlyStopping("loss"), called.ModelCheckpoint(folder, "lightning")]
    trainer = lightning.Trainer(
        max_epochs=1, logger=False, accelerator="cpu", enable_progress_bar=False, callbacks=callbacks
    )
    trainer.fit(Net(), loader)


def _sklearn(folder: Path) -> None:
    import joblib
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    held = {"coef": np.arange(1000.0), "names": ["a", "b"], "objects": np.array([{"a": 1}], dtype=object)}
    joblib.dump(held, folder / "arrays.joblib")
    packed: Any = ("gzip", 3)
    joblib.dump(held, folder / "arrays.joblib.gz", compress=packed)
    joblib.dump(LogisticRegression().fit(np.eye(2), [0, 1]), folder / "sklearn.joblib")


def _numpy(folder: Path) -> None:
    import numpy as np

    np.save(folder / "a.npy", np.arange(6.0))
    np.save(folder / "objects.npy", np.array([{"a": np.ones(2)}, "b"], dtype=object), allow_pickle=True)
    np.savez(folder / "a.npz", a=np.ones(3), b=np.array(["x"]))
    np.savez_compressed(folder / "c.npz", a=np.ones(300))


def _others(folder: Path) -> None:
    from fuzz import seeds

    for suffix, make in (
        ("gguf", seeds.gguf),
        ("onnx", seeds.onnx),
        ("keras", lambda: seeds.keras()[:1]),
        ("h5", seeds.hdf5),
        ("safetensors", seeds.safetensors),
    ):
        for number, data in enumerate(make()):
            (folder / f"{number}.{suffix}").write_bytes(data)


WRITERS: dict[str, Callable[[Path], None]] = {
    "torch": _torch, "timm": _timm, "exported": _exported, "transformers": _transformers, "lightning": _lightning,
    "sklearn": _sklearn, "numpy": _numpy, "others": _others,
}  # fmt: skip


def build(folder: Path) -> list[Path]:
    """Write all of them; the files."""
    for name, write in WRITERS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        write(folder / name)
    return sorted(path for path in folder.rglob("*") if path.is_file())
