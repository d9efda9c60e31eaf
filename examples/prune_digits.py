"""A small network, from training to pruning: groups, views, files, and accuracy against sparsity and size.

    pip install 'statedict[torch]' scikit-learn matplotlib
    python examples/prune_digits.py --out digits

The network is two blocks of convolution and a classifier of two layers; the data are scikit-learn's digits, 1,797 real
images of 8 by 8 that come with the package. It trains for 3 seconds; all of it takes half a minute on one core.
"""

import argparse
import json
import time
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import statedict as sd

METHODS = ("magnitude", "random", "rows", "columns", "channels", "4x4", "2:4")
AMOUNTS = (0.0, 0.5, 0.75, 0.9, 0.95)
HALF = 0.5
"""What 2:4 prunes, which no amount is given for."""
SHRUNK = "shrunk"
"""The way that takes channels away, where the others set weights to zero."""
BATCH = 64


def network() -> nn.Sequential:
    """Takes (N, 1, 8, 8) images, so that 9 * 2 * 2 = 36 features reach the classifier."""
    features = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(6, 9, 3, padding=1),
        nn.BatchNorm2d(9),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2, 2),
    )
    classifier = nn.Sequential(
        nn.Linear(36, 128),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(128, 10),
    )
    # A Sequential all the way: its file says by itself how the parts follow each other, which `sd.shrink` needs.
    return nn.Sequential(OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier))


class Digits(NamedTuple):
    """Images and what they show, some kept apart for testing."""

    images: torch.Tensor
    labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


class Point(NamedTuple):
    """What became of one network."""

    method: str
    amount: float
    parameters: int
    sparsity: float
    """The share of its parameters that is zero."""
    nbytes: int
    """Bytes of its file."""
    deflated: int
    """The same, deflated: zeros take next to nothing."""
    at_once: float
    """Accuracy as the file was pruned, without training."""
    tuned: float
    """Accuracy after training on, with what is pruned kept so."""


def digits() -> Digits:
    """The images as numbers from 0 to 1, a fifth of them for testing."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, labels, test_size=0.2, random_state=0, stratify=labels)
    train, test, train_labels, test_labels = map(torch.as_tensor, parts)
    return Digits(train.float().reshape(-1, 1, 8, 8), train_labels, test.float().reshape(-1, 1, 8, 8), test_labels)


def train(net: nn.Module, data: Digits, epochs: int, lr: float) -> None:
    """Train with AdamW, whose weight decay leaves norms and biases alone."""
    groups = sd.param_groups(net, [sd.no_decay], lr=lr, weight_decay=0.01)
    optimizer = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    net.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(data.images)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(data.images[batch]), data.labels[batch]).backward()
            optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(net: nn.Module, data: Digits) -> float:
    """The share of test images that the network tells."""
    net.eval()
    return float((net(data.test_images).argmax(1) == data.test_labels).float().mean())


def walk(file: Path) -> None:
    """The seven views of the file: no class of ours, and no torch, is needed for them."""
    model = sd.open(file)
    print(model)
    print("named_modules   ", [name for name, _ in model.named_modules()][:4], "…")
    print("modules         ", sum(1 for _ in model.modules()))
    print("children        ", [child.kind for child in model.children()])
    print("named_children  ", [name for name, _ in model.named_children()])
    print("parameters      ", sum(parameter.numel() for parameter in model.parameters()))
    print("named_parameters", [name for name, _ in model.named_parameters()][:3], "…")
    print("state_dict      ", len(model.state_dict()), "tensors")


def pruned(file: Path, data: Digits, method: str, amount: float, epochs: int) -> Point:
    """Prune the file, without PyTorch; then load what it holds, and train on while what is zero stays zero."""
    out = file.with_name(f"{method.replace(':', '-')}-{round(100 * amount)}.safetensors")
    zeroed = sd.prune(sd.open(file), amount=None if ":" in method else amount, method=method, scope="tensor")
    sd.save(zeroed, out)
    net = network()
    sd.load_into(net, out)
    at_once = accuracy(net, data)
    pruning = sd.prune_live(net, method="mask", masks=sd.masks(zeroed))
    train(net, data, epochs, 5e-3)
    pruning.finalize()
    sd.save(net, out)
    return point(net, out, data, method, amount, at_once)


def shrunk(file: Path, data: Digits, amount: float, epochs: int) -> Point:
    """Take channels out of the file; it is then a smaller network, which PyTorch loads, runs and trains."""
    out = file.with_name(f"{SHRUNK}-{round(100 * amount)}.pt")
    sd.save(sd.shrink(sd.open(file), amount).model, out, whole=True)
    net = torch.load(out, weights_only=False)
    at_once = accuracy(net, data)
    train(net, data, epochs, 5e-3)
    torch.save(net, out)
    return point(net, out, data, SHRUNK, amount, at_once)


def point(net: nn.Module, file: Path, data: Digits, method: str, amount: float, at_once: float) -> Point:
    """What became of a network: its tensors are saved beside, so that sizes compare."""
    tensors = file.with_suffix(".safetensors")
    sd.save(sd.open(net.state_dict()), tensors)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    zeros = sum(int((parameter == 0).sum()) for parameter in net.parameters())
    held = tensors.read_bytes()
    size = len(zlib.compress(held, 9))
    return Point(method, amount, parameters, zeros / parameters, len(held), size, at_once, accuracy(net, data))


def milliseconds(net: nn.Module, images: torch.Tensor) -> float:
    """How long one pass takes, at best of several."""
    times: list[float] = []
    with torch.inference_mode():
        for _ in range(30):
            began = time.perf_counter()
            net(images)
            times.append(time.perf_counter() - began)
    return 1000 * min(times)


def compare(before: nn.Module, after: nn.Module, data: Digits) -> None:
    """Print what one network and a smaller one are: size, work and speed."""
    images = data.images[:1024]
    print("\n           parameters     MACs  1,024 images  accuracy")
    for name, net in (("whole", before), ("small", after)):
        said = sd.summary(net, input_size=(1, 1, 8, 8))
        print(
            f"{name:10} {said.parameters:10,} {said.macs:8,} {milliseconds(net.eval(), images):9.2f} ms "
            f"{accuracy(net, data):9.3f}"
        )


def plot(points: list[Point], file: Path) -> None:
    """Draw accuracy against sparsity, and against the size of the file."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    most = max(point.parameters for point in points)
    for at, method in enumerate(dict.fromkeys(point.method for point in points)):
        mine = [point for point in points if point.method == method]
        gone = [1 - p.parameters * (1 - p.sparsity) / most for p in mine]
        left.plot(gone, [p.tuned for p in mine], f"C{at}o-", label=method)
        left.plot(gone, [p.at_once for p in mine], f"C{at}o:", alpha=0.5)
        right.plot([p.deflated / 1024 for p in mine], [p.tuned for p in mine], f"C{at}o-")
    left.set(xlabel="share of parameters that is zero or gone", ylabel="accuracy (dotted: before training on)")
    right.set(xlabel="file, deflated (KiB)")
    right.set_xscale("log")
    left.legend()
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)


def begun(data: Digits, epochs: int, out: Path) -> tuple[nn.Sequential, Path]:
    """The trained network, and its file, walked."""
    net = network()
    print(sd.summary(net, input_size=(1, 1, 8, 8)), end="\n\n")
    print(sd.param_groups(net, [sd.no_decay], lr=0.01, weight_decay=0.01), end="\n\n")
    train(net, data, epochs, 0.01)
    torch.save(net, out / "digits.pt")
    walk(out / "digits.pt")
    return net, out / "digits.pt"


def curve(file: Path, data: Digits, method: str, amounts: tuple[float, ...], epochs: int) -> list[Point]:
    """What becomes of the network at each amount, each told as it is known."""
    points: list[Point] = []
    for amount in amounts:
        if method == SHRUNK:
            points.append(shrunk(file, data, amount, epochs))
        else:
            points.append(pruned(file, data, method, amount, epochs))
        p = points[-1]
        print(
            f"{method:10} {amount:6.0%} {p.parameters:10,} {p.sparsity:6.1%} {p.nbytes:7,} {p.deflated:8,} "
            f"{p.at_once:8.3f} {p.tuned:8.3f}"
        )
    return points


def main() -> None:
    """Train, walk, prune, shrink, plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("digits"), help="the folder to write to")
    parser.add_argument("--epochs", type=int, default=30, help="epochs of training; a third as many after pruning")
    parser.add_argument("--methods", nargs="+", default=(*METHODS, SHRUNK), choices=(*METHODS, SHRUNK))
    parser.add_argument("--amounts", nargs="+", type=float, default=AMOUNTS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so small a network is 20 times slower on two, which wait for each other
    began = time.perf_counter()
    data = digits()
    net, file = begun(data, options.epochs, options.out)
    print(f"\naccuracy {accuracy(net, data):.3f}\n")
    print("method     amount parameters  zeros   bytes deflated  at once  trained")
    points: list[Point] = []
    for method in options.methods:
        amounts = (HALF,) if ":" in method else tuple(options.amounts)
        points += curve(file, data, method, amounts, max(1, options.epochs // 3))
    (options.out / "points.json").write_text(json.dumps([point._asdict() for point in points], indent=1) + "\n")
    plot(points, options.out / "accuracy.svg")
    small = options.out / f"{SHRUNK}-50.pt"
    if small.exists():
        compare(net, torch.load(small, weights_only=False), data)
    print(f"\n{options.out / 'accuracy.svg'}; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
