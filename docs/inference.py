"""Measures how many modules are named right from their state dict alone, and writes the table into `inference.md`.

    python docs/inference.py [FOLDER]

Needs the `dev` extra. FOLDER is one that `pip install --no-deps --target FOLDER timm torchvision pillow` has filled:
apart, since transformers behaves otherwise where they are installed. Without it their rows stay out.
No weights are downloaded: models have random weights, or none.
"""

import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import architectures, torch_layers  # noqa: E402  (found by the line above)
from tests.kinds import Score  # noqa: E402

PAGE = ROOT / "docs" / "inference.md"
BLOCK = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- end of measured -->)", re.DOTALL)
Made = Iterator[nn.Module]


def main() -> None:
    """Measure every family, and write the table."""
    families: list[tuple[str, Callable[[], Made]]] = [
        ("transformers, tiny", _tiny),
        ("transformers, default sizes", _whole),
        ("`torch.nn`, each layer alone and without a name", lambda: iter(torch_layers.every_layer())),
    ]
    if len(sys.argv) > 1:
        timm, torchvision = _vision(sys.argv[1])
        families += [
            (f"timm {timm.__version__}, three models a family", lambda: _timm(timm)),
            (f"torchvision {torchvision.__version__.partition('+')[0]}", lambda: _torchvision(torchvision.models)),
        ]
    rows = [
        "| family | models | with tensors | no name is right for | right | unknown | wrong | saved as |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, models in families:
        rows += _rows(name, models())
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BLOCK.sub("\n".join(rows) + "\n", text), encoding="utf-8")


def _rows(name: str, models: Iterable[nn.Module]) -> list[str]:
    scores = {"torch": Score(), "safetensors": Score()}
    count = 0
    for count, model in enumerate(models, 1):  # noqa: B007  (the last one counts)
        for form, score in scores.items():
            score.add(model, ordered=form == "torch")
    return [_row(name, count, form, score) for form, score in scores.items()]


def _row(name: str, models: int, form: str, score: Score) -> str:
    named = score.right + score.wrong - score.misnamed + score.unknown
    return (
        f"| {name} | {models:,} | {named + score.nameless + score.misnamed:,} | {score.nameless + score.misnamed:,} | "
        f"{score.share_right:.2%} | {score.unknown / named:.2%} | {score.share_wrong:.2%} | {form} |"
    )


def _tiny() -> Made:
    return map(architectures.make, architectures.names())


def _whole() -> Made:
    for name in architectures.known():
        yield from _built(lambda name=name: architectures.whole(name))


def _built(make: Callable[[], Any]) -> Made:
    """The model, if it can be built without data, on a device that holds none."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        try:
            model = make()
        except Exception as error:  # noqa: BLE001  (each has its reasons, which are not ours)
            print(f"left out: {type(error).__name__}: {str(error).splitlines()[:1]}", file=sys.stderr)
            return
    yield cast("nn.Module", model)


def _vision(folder: str) -> tuple[Any, Any]:
    """Timm and torchvision; the latter without its compiled operators, of which only the signatures are asked for."""
    sys.path.append(folder)
    library: Any = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import timm  # pyright: ignore[reportMissingImports]
    import torchvision  # pyright: ignore[reportMissingImports]

    _kept.append(library)
    return cast("Any", timm), cast("Any", torchvision)


_kept: list[Any] = []
"""Definitions last as long as the library that made them."""


def _timm(timm: Any) -> Made:
    """The first, the middle and the last model of each of timm's files."""
    for family in timm.list_modules():
        names: list[str] = timm.list_models(module=family)
        for name in dict.fromkeys((*names[:1], *names[len(names) // 2 :][:1], *names[-1:])):
            yield from _built(lambda name=name: timm.create_model(name, pretrained=False))


def _torchvision(models: Any) -> Made:
    for name in models.list_models():
        backbone = {"weights_backbone": None} if "fpn" in name or _has_backbone(name) else {}
        yield from _built(lambda name=name, backbone=backbone: models.get_model(name, weights=None, **backbone))


def _has_backbone(name: str) -> bool:
    """Whether a model's constructor would fetch the weights of a backbone unless told not to."""
    return name.startswith(("deeplab", "fcn", "lraspp", "ssd"))


if __name__ == "__main__":
    main()
