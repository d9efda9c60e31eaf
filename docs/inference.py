"""Measures how many modules are named right from their state dict alone, and writes the table into `inference.md`.

    python docs/inference.py [FOLDER]

Needs the `dev` extra. FOLDER is one that `pip install --no-deps --target FOLDER timm torchvision pillow diffusers
open_clip_torch ftfy wcwidth segmentation-models-pytorch monai accelerate psutil` has filled: apart, since transformers
behaves otherwise where they are installed. Without it their rows stay out.
No weights are downloaded: models have random weights, or none. What `config.json` tells is counted, too.
"""

import contextlib
import importlib
import inspect
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import statedict as sd  # noqa: E402  (found by the line above)
from statedict import configured  # noqa: E402
from statedict.errors import StatedictError  # noqa: E402
from statedict.interop.transformers import Refused  # noqa: E402
from tests import architectures, saved_models, torch_layers  # noqa: E402
from tests.kinds import Score  # noqa: E402

PAGE = ROOT / "docs" / "inference.md"
MEASURED, CONFIGURED = (
    re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
    for name in ("measured", "configured")
)
Made = Iterator[nn.Module]


def main() -> None:
    """Measure every family, and write the table."""
    told = _told_by_config()
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
            ("diffusers", _diffusers),
            ("open_clip", _open_clip),
            ("segmentation_models_pytorch", _segmentation),
            ("monai", _monai),
        ]
    rows = [
        "| family | models | with tensors | no name is right for | right | unknown | wrong | saved as |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, models in families:
        rows += _rows(name, models())
    text = MEASURED.sub("\n".join(rows) + "\n", PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(CONFIGURED.sub(told, text), encoding="utf-8")


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


def _told_by_config() -> str:
    """How many architectures get the kind of every module from their `config.json`, in a sentence."""
    setattr(configured, "_asked", saved_models.in_process)  # noqa: B010  as the process of its own would answer, in less time
    names = architectures.names()
    whole = sum(map(_is_told_whole, names))
    return (
        f"Of {len(names):,} tiny architectures, each saved by `transformers` and opened again, {whole:,} come back\n"
        "with the kind of every module the live model's; the others are stored under other names than their modules\n"
        "have, and of their modules most are told.\n"
    )


def _is_told_whole(name: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        live = saved_models.saved(name, Path(folder))
        try:
            return saved_models.kinds(sd.open(folder, kinds="config")) == saved_models.kinds(live)
        except (StatedictError, Refused) as error:
            print(f"not told: {name}: {error}", file=sys.stderr)
            return False


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


def _public(package: Any, parent: type) -> Iterator[type[nn.Module]]:
    """The classes that a package offers and that inherit from `parent`, by name."""
    for name in sorted(dir(package)):
        with contextlib.suppress(Exception):  # some need libraries that are not there
            found = getattr(package, name)
            if isinstance(found, type) and issubclass(found, parent) and found is not parent:
                yield found


def _diffusers() -> Made:
    """Every model in its default size."""
    diffusers: Any = importlib.import_module("diffusers")
    for kind in _public(diffusers, diffusers.ModelMixin):
        yield from _built(kind)


def _open_clip() -> Made:
    """Every configuration that needs no text model from elsewhere."""
    open_clip: Any = importlib.import_module("open_clip")
    for name in open_clip.list_models():
        if "hf_tokenizer_name" not in open_clip.get_model_config(name)["text_cfg"] or "SigLIP" in name:
            yield from _built(lambda name=name: open_clip.create_model(name, device="meta", load_weights=False))


def _segmentation() -> Made:
    """Every decoder on encoders of seven families."""
    library: Any = importlib.import_module("segmentation_models_pytorch")
    encoders = ("resnet34", "efficientnet-b0", "mobilenet_v2", "mit_b0", "densenet121", "vgg11_bn", "xception")
    for kind in _public(library, nn.Module):
        for encoder in encoders:
            yield from _built(
                lambda kind=kind, encoder=encoder: cast("Any", kind)(encoder_name=encoder, encoder_weights=None)
            )


def _monai() -> Made:
    """Every network whose arguments are among those that most share."""
    nets: Any = importlib.import_module("monai.networks.nets")
    for kind in _public(nets, nn.Module):
        needed = [
            name
            for name, parameter in inspect.signature(kind).parameters.items()
            if parameter.default is parameter.empty and name in _OF_NETWORKS
        ]
        yield from _built(lambda kind=kind, needed=needed: kind(**{name: _OF_NETWORKS[name] for name in needed}))


_OF_NETWORKS: dict[str, Any] = {
    **dict.fromkeys(("spatial_dims", "dimensions", "out_channels", "num_classes", "n_classes"), 2),
    **dict.fromkeys(("num_channel_initial", "init_filters", "latent_size"), 8),
    "in_channels": 1,
    "out_shape": (2,),
    "in_shape": (1, 32, 32),
    "channels": (8, 16, 32),
    "strides": (2, 2),
    "img_size": (96, 96),
    "image_size": (32, 32),
    "patch_size": (16, 16),
    "depth": 3,
    "feature_size": 24,
    "kernel_size": [3, 3, 3],
    "upsample_kernel_size": [2, 2],
    "extract_levels": [0, 1],
    "num_tokens": 100,
    "max_seq_len": 32,
    "attn_layers_dim": 32,
    "attn_layers_depth": 2,
    "attn_layers_heads": 2,
    "model_name": "efficientnet-b0",
    "num_layers_d": 2,
}


def _has_backbone(name: str) -> bool:
    """Whether a model's constructor would fetch the weights of a backbone unless told not to."""
    return name.startswith(("deeplab", "fcn", "lraspp", "ssd"))


if __name__ == "__main__":
    main()
