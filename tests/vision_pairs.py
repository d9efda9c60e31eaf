"""Models of vision that timm, torchvision and transformers each have, under names of their own."""

import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch

from tests import architectures
from tests.naming_pairs import Pair

hf: Any = architectures.library
HF_VIT: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "num_labels": 10, "layer_norm_eps": 1e-6, "hidden_act": "gelu",
}  # fmt: skip
TIMM_VIT: dict[str, Any] = {
    "img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2,
}  # fmt: skip


def with_libraries(folder: str) -> tuple[Any, Any]:
    """Timm and torchvision of a folder; the latter without its compiled operators, whose signatures are enough."""
    if not _kept:
        sys.path.append(folder)
        library: Any = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)
    import timm  # pyright: ignore[reportMissingImports]
    import torchvision  # pyright: ignore[reportMissingImports]

    return cast("Any", timm), cast("Any", torchvision).models


_kept: list[Any] = []
"""Definitions last as long as the library that made them."""


def vision(folder: str) -> Iterator[Pair]:
    """Pairs of timm, torchvision and transformers."""
    timm, tv = with_libraries(folder)
    for held_out, pairs in ((False, _made(timm, tv)), (True, _held_out(timm, tv))):
        for name, make in pairs.items():
            source, target, size = make()
            yield Pair(name, source, target, _image(size), _features, _features, held_out)


def _image(size: int) -> torch.Tensor:
    return torch.linspace(-9, 9, 3 * size * size).sin().view(1, 3, size, size)


def _features(model: Any, x: torch.Tensor) -> torch.Tensor:
    made = model(x)
    if isinstance(made, torch.Tensor):
        return made
    return made.logits if "logits" in made else made.last_hidden_state


def _made(timm: Any, tv: Any) -> dict[str, Callable[[], tuple[Any, Any, int]]]:
    basic = {"embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "num_labels": 10}

    def timm_vit(**more: Any) -> Any:
        return timm.models.vision_transformer.VisionTransformer(**TIMM_VIT, num_classes=10, **more)

    def tv_vit() -> Any:
        return tv.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=10)

    def tv_convnext() -> Any:
        setting = tv.convnext.CNBlockConfig
        rows = [setting(16, 32, 2), setting(32, 48, 1), setting(48, 64, 2), setting(64, None, 1)]
        return tv.ConvNeXt(rows, num_classes=10)

    def timm_convnext() -> Any:
        return timm.models.convnext.ConvNeXt(depths=(2, 1, 2, 1), dims=(16, 32, 48, 64), num_classes=10)

    def hf_convnext() -> Any:
        return hf.ConvNextForImageClassification(
            hf.ConvNextConfig(depths=[2, 1, 2, 1], hidden_sizes=[16, 32, 48, 64], num_labels=10, layer_norm_eps=1e-6)
        )

    def tv_swin() -> Any:
        return tv.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], mlp_ratio=4.0, num_classes=10)

    def timm_swin() -> Any:
        return timm.models.swin_transformer.SwinTransformer(
            img_size=64, patch_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=4, num_classes=10
        )

    def hf_swin() -> Any:
        return hf.SwinForImageClassification(
            hf.SwinConfig(
                image_size=64, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, num_labels=10
            )
        )

    def hf_resnet(kind: str, depths: list[int], sizes: list[int]) -> Any:
        config = hf.ResNetConfig(**{**basic, "hidden_sizes": sizes}, depths=depths, layer_type=kind)
        return hf.ResNetForImageClassification(config)

    resnet50 = ("bottleneck", [3, 4, 6, 3], [256, 512, 1024, 2048])
    resnet18 = ("basic", [2, 2, 2, 2], [64, 128, 256, 512])
    return {
        "ResNet-18: torchvision → transformers": lambda: (tv.resnet18(num_classes=10), hf_resnet(*resnet18), 64),
        "ResNet-50: torchvision → transformers": lambda: (tv.resnet50(num_classes=10), hf_resnet(*resnet50), 64),
        "ResNet-50: torchvision → timm": lambda: (
            tv.resnet50(num_classes=10),
            timm.create_model("resnet50", num_classes=10),
            64,
        ),
        "ViT: torchvision → timm": lambda: (tv_vit(), timm_vit(), 32),
        "ViT: timm → transformers": lambda: (timm_vit(), hf.ViTForImageClassification(hf.ViTConfig(**HF_VIT)), 32),
        "ViT: torchvision → transformers": lambda: (tv_vit(), hf.ViTForImageClassification(hf.ViTConfig(**HF_VIT)), 32),
        "ConvNeXt: torchvision → timm": lambda: (tv_convnext(), timm_convnext(), 64),
        "ConvNeXt: timm → transformers": lambda: (timm_convnext(), hf_convnext(), 64),
        "ConvNeXt: torchvision → transformers": lambda: (tv_convnext(), hf_convnext(), 64),
        "Swin: torchvision → timm": lambda: (tv_swin(), timm_swin(), 64),
        "Swin: timm → transformers": lambda: (timm_swin(), hf_swin(), 64),
        "Swin: torchvision → transformers": lambda: (tv_swin(), hf_swin(), 64),
    }


LEARNT_FROM = (
    "MobileNetV2: torchvision → timm",
    "MobileNetV3: torchvision → timm",
    "RegNetY: torchvision → timm",
    "DeiT: timm → transformers",
)
"""Those held out that showed, once they were measured, what the matcher did not know yet."""


def _held_out(timm: Any, tv: Any) -> dict[str, Callable[[], tuple[Any, Any, int]]]:
    """Pairs that the matcher was written without: none of its words or numbers was chosen with a look at these.

    What `LEARNT_FROM` showed was mended afterwards.
    """

    def timm_model(name: str, **more: Any) -> Any:
        return timm.create_model(name, num_classes=10, **more)

    def deit() -> Any:
        return timm.models.deit.VisionTransformerDistilled(num_classes=10, **TIMM_VIT)

    def hf_deit() -> Any:
        return hf.DeiTForImageClassificationWithTeacher(hf.DeiTConfig(**HF_VIT))

    def dinov2() -> Any:
        return timm.models.vision_transformer.VisionTransformer(
            num_classes=0, init_values=1.0, global_pool="", **TIMM_VIT
        )

    def hf_dinov2() -> Any:
        return hf.Dinov2Model(hf.Dinov2Config(**{**HF_VIT, "mlp_ratio": 2}))

    def beit() -> Any:
        return timm.models.beit.Beit(
            num_classes=10, init_values=0.1, use_rel_pos_bias=True, use_abs_pos_emb=False, **TIMM_VIT
        )

    def hf_beit() -> Any:
        return hf.BeitForImageClassification(
            hf.BeitConfig(**HF_VIT, use_relative_position_bias=True, use_mean_pooling=True)
        )

    def regnet() -> Any:
        return tv.regnet_y_400mf(num_classes=10)

    def hf_regnet() -> Any:
        sizes = {"embedding_size": 32, "hidden_sizes": [48, 104, 208, 440], "depths": [1, 3, 6, 6], "groups_width": 8}
        return hf.RegNetForImageClassification(hf.RegNetConfig(**sizes, layer_type="y", num_labels=10))

    return {
        "MobileNetV2: torchvision → timm": lambda: (tv.mobilenet_v2(num_classes=10), timm_model("mobilenetv2_100"), 64),
        "MobileNetV3: torchvision → timm": lambda: (
            tv.mobilenet_v3_large(num_classes=10), timm_model("mobilenetv3_large_100"), 64
        ),
        "EfficientNet-B0: torchvision → timm": lambda: (
            tv.efficientnet_b0(num_classes=10), timm_model("efficientnet_b0"), 64
        ),
        "RegNetY: torchvision → timm": lambda: (regnet(), timm_model("regnety_004"), 64),
        "RegNetY: torchvision → transformers": lambda: (regnet(), hf_regnet(), 64),
        "DenseNet-121: torchvision → timm": lambda: (tv.densenet121(num_classes=10), timm_model("densenet121"), 64),
        "Inception v3: torchvision → timm": lambda: (
            tv.inception_v3(num_classes=10, aux_logits=False, init_weights=False), timm_model("inception_v3"), 96
        ),
        "VGG-11: torchvision → timm": lambda: (tv.vgg11_bn(num_classes=10), timm_model("vgg11_bn"), 224),
        "DeiT: timm → transformers": lambda: (deit(), hf_deit(), 32),
        "DINOv2: timm → transformers": lambda: (dinov2(), hf_dinov2(), 32),
        "BEiT: timm → transformers": lambda: (beit(), hf_beit(), 32),
    }  # fmt: skip
