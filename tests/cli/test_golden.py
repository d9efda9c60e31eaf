"""What users see, kept as text files: read the differences of `tests/golden` as you would code.

UPDATE_GOLDEN=1 in the environment writes them anew.
"""

from pathlib import Path

import pytest

from tests.commands import assert_golden, on_terminal, run
from tests.sample_checkpoints import write_all

CASES = {
    "help": ["--help"],
    "help-tree": ["tree", "--help"],
    "help-ls": ["ls", "--help"],
    "help-stats": ["stats", "--help"],
    "help-check": ["check", "--help"],
    "help-hash": ["hash", "--help"],
    "help-diff": ["diff", "--help"],
    "help-show": ["show", "--help"],
    "help-convert": ["convert", "--help"],
    "help-match": ["match", "--help"],
    "help-edit": ["edit", "--help"],
    "help-prune": ["prune", "--help"],
    "help-shrink": ["shrink", "--help"],
    "help-merge": ["merge", "--help"],
    "help-extract-lora": ["extract-lora", "--help"],
    "help-explore": ["explore", "--help"],
    "help-report": ["report", "--help"],
    "help-browse": ["browse", "--help"],
    "help-catalog": ["catalog", "--help"],
    "help-formats": ["formats", "--help"],
    "formats": ["formats"],
    "tree-train-json": ["tree", "train.ckpt", "--json"],
    "tree-net": ["tree", "net.pt"],
    "tree-net-whole": ["tree", "net_whole.pt"],
    "tree-net-safetensors": ["tree", "net.safetensors"],
    "tree-language": ["tree", "language.pt"],
    "tree-language-unfold": ["tree", "language.pt", "--unfold"],
    "tree-language-depth": ["tree", "language_whole.pt", "--depth", "1"],
    "tree-language-pattern": ["tree", "language_whole.pt", "**.{query,key}", "embedding.weight"],
    "tree-train": ["tree", "train.ckpt"],
    "tree-train-key": ["tree", "train.ckpt", "--key", "model.features"],
    "tree-hostile": ["tree", "hostile.pt"],
    "tree-tensor": ["tree", "tensor.pt"],
    "tree-no-tensors": ["tree", "no_tensors.pt"],
    "tree-lstm": ["tree", "lstm.pt"],
    "ls-net": ["ls", "net_whole.pt"],
    "ls-language-sort": ["ls", "language.pt", "layers.{0-1}.**", "--sort", "size", "-r"],
    "ls-language-where": ["ls", "language_whole.pt", "--where", "kind == 'Linear' and ndim == 2"],
    "ls-train-role": ["ls", "train.ckpt", "--where", "role == 'optimizer' and ndim > 3"],
    "ls-lstm-json": ["ls", "lstm.pt", "--json"],
    "ls-language-csv": ["ls", "language.pt", "{embedding,head,positions}**", "--csv"],
    "ls-no-tensors": ["ls", "no_tensors.pt"],
    "ls-no-tensors-json": ["ls", "no_tensors.pt", "--json"],
    "stats-language": ["stats", "language.pt", "layers.0.**", "--histogram"],
    "stats-train-modules": ["stats", "train.ckpt", "model.**", "--modules"],
    "stats-structure": ["stats", "net_whole.pt", "--structure", "--if-cast", "f8_e4m3fn"],
    "stats-total-json": ["stats", "net_whole.pt", "--total", "--histogram", "--json"],
    "check-net": ["check", "net.pt", "--level", "note"],
    "hash-language": ["hash", "language.pt", "{embedding,head}.**"],
    "diff-same": ["diff", "net.pt", "net.safetensors"],
    "diff-other": ["diff", "net.pt", "net_whole.pt"],
    "diff-names": ["diff", "net.pt", "language.pt", "--names-only"],
    "diff-one": ["diff", "net.pt"],
    "show-tensor": ["show", "net_whole.pt", "features.0.weight"],
    "show-tensor-json": ["show", "net_whole.pt", "features.0.weight", "--json"],
    "show-tied": ["show", "language.pt", "head.weight"],
    "show-module": ["show", "net_whole.pt", "features.1"],
    "show-module-json": ["show", "net_whole.pt", "features.1", "--json"],
    "show-whole": ["show", "language_whole.pt"],
    "show-attribute": ["show", "train.ckpt", "hyper_parameters"],
    "show-attribute-deep": ["show", "train.ckpt", "hyper_parameters.optimizer.betas", "--json"],
    "show-namespace": ["show", "train.ckpt", "args"],
    "show-missing": ["show", "net.pt", "feature.0.weight"],
    "ls-missing": ["ls", "net.pt", "features.0.weigth"],
    "ls-module": ["ls", "net.pt", "features.0"],
    "tree-memory": ["tree", "language.pt", "--memory"],
    "tree-memory-adam": ["tree", "net.pt", "--optimizer", "adam", "--precision", "mixed", "--depth", "1"],
    "tree-memory-json": ["tree", "lstm.pt", "--optimizer", "sgd-momentum", "--json"],
    "tree-memory-train": ["tree", "train.ckpt", "--precision", "bf16", "--depth", "2"],
    "tree-memory-pattern": ["tree", "net.pt", "features.**", "--memory"],
    "tree-wrong-key": ["tree", "net.pt", "--key", "feature"],
    "convert-shards": ["convert", "language_whole.pt", "shards", "--shard-size", "5KB", "--dtype", "bf16"],
    "convert-left-out": ["convert", "train.ckpt", "train.npz"],
    "convert-taken": ["convert", "net.pt", "net.safetensors"],
    "edit-dry-run": [
        *("edit", "language.pt", "--dry-run", "--rename", "layers.{i}.attention.{n}.*=blocks.{i}.attn.{n}.*", "--cast"),
        *("**.bias=f16", "--drop", "head.weight", "--slice", "positions=[:, 0:8]", "--set-metadata", "note=short"),
    ],
    "edit-collisions": ["edit", "language.pt", "out.pt", "--rename", "layers.{i}.**=layer.**"],
    "match-same": ["match", "net.pt", "net.safetensors"],
    "match-other": ["match", "net.pt", "language.pt", "--names-only"],
    "prune-half": ["prune", "net.safetensors", "pruned.safetensors", "--amount", "0.5"],
    "prune-dry-run": [
        "prune",
        "net_whole.pt",
        "pruned.pt",
        "--method",
        "channels",
        "--norm",
        "batchnorm",
        "-a",
        "2",
        "--dry-run",
    ],
    "prune-unfit": ["prune", "net.safetensors", "pruned.pt", "features.4.weight", "--method", "2:4"],
    "prune-no-mask": ["prune", "net.safetensors", "pruned.pt", "--method", "mask"],
    "shrink-no-amount": ["shrink", "net_whole.pt", "small.pt"],
    "shrink-net": ["shrink", "net_whole.pt", "small.pt", "--amount", "0.5"],
    "shrink-chains": ["shrink", "net_whole.pt", "small.pt", "-a", "2", "--chain", "features", "--chain", "classifier"],
    "shrink-json": ["shrink", "net_whole.pt", "dead.pt", "--dead", "--chain", "features", "--json"],
    "shrink-tensors": ["shrink", "net.pt", "tensors.pt", "--amount", "0.5"],
    "merge-linear": ["merge", "net.safetensors", "net.safetensors", "merged.safetensors", "--dtype", "bf16"],
    "merge-weights": ["merge", "net.safetensors", "net.safetensors", "merged.safetensors", "-w", "1"],
    "merge-no-number": ["merge", "net.safetensors", "net.safetensors", "merged.safetensors", "-w", "**=half"],
    "merge-no-base": ["merge", "--method", "ties", "net.safetensors", "merged.safetensors"],
    "merge-no-target": ["merge", "net.safetensors"],
    "merge-other-names": ["merge", "net.pt", "language.pt", "merged.safetensors"],
    "merge-lora-two": ["merge", "lora", "net.pt", "merged.safetensors"],
    "merge-lora-no-adapter": ["merge", "lora", "net.pt", "net.safetensors", "merged.safetensors"],
    "extract-lora-nothing": ["extract-lora", "net.pt", "net.pt", "adapter"],
    "wrong-option": ["tree", "net.pt", "--fold"],
    "wrong-command": ["tre", "net.pt"],
    "no-command": ["net.pt"],
}
WIDE_AND_NARROW = ["tree-net-whole", "tree-language", "tree-train", "tree-hostile", "ls-net", "show-module"]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_all(folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_pipe(name: str, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(samples)

    assert_golden(name, CASES[name], run(*CASES[name]))


@pytest.mark.parametrize("columns", [160, 40])
@pytest.mark.parametrize("name", WIDE_AND_NARROW)
def test_terminal(name: str, columns: int, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(samples)
    on_terminal(monkeypatch, columns)

    assert_golden(f"{name}-{columns}", CASES[name], run(*CASES[name]))
