"""Whether a tensor is a parameter or a buffer, where the file does not tell: by its local name, type and shape."""

from collections.abc import Container
from typing import Literal

from statedict.dtypes import DTYPES
from statedict.index import TensorInfo

Role = Literal["parameter", "buffer", "optimizer"]
"""What a tensor is for; "optimizer": part of an optimizer's state in a training checkpoint."""

_BUFFERS = frozenset(
    {
        # norms, and what keeps running averages
        *(
            "running_mean",
            "running_var",
            "num_batches_tracked",
            "cluster_size",
            "cluster_usage",
            "embed_avg",
            "embed_sum",
        ),
        *("inited", "initialized"),
        # positions and masks
        *("position_ids", "token_type_ids", "inv_freq", "freqs_cis", "rotary_emb", "relative_position_index"),
        *("relative_coords_table", "attn_mask", "attention_mask", "causal_mask", "masked_bias", "slope_rate"),
        # what inputs and outputs are scaled and clipped by
        *("pixel_mean", "pixel_std", "norm_mean", "norm_std", "global_mean", "global_invstd", "std_bias", "std_scale"),
        *("input_min", "input_max", "output_min", "output_max", "x_min", "x_max", "final_logits_bias"),
        # quantisers' state
        *("act_scaling_factor", "fc_scaling_factor", "weight_scaling_factor", "weight_integer", "bias_integer"),
        *(
            "scales",
            "qzeros",
            "g_idx",
            "absmax",
            "quant_map",
            "nested_absmax",
            "nested_quant_map",
            "SCB",
            "weight_format",
        ),
        # balance of experts
        *("e_score_correction_bias", "balancing_biases"),
    }
)
"""Names under which nearly every model registers a buffer."""
_PARAMETERS = frozenset({"weight", "bias"})
DIFFERENTIABLE = frozenset(name for name, dtype in DTYPES.items() if dtype.is_floating_point or dtype.is_complex)
"""Names of the element types that can have gradients."""


def is_parameter(
    name: str, info: TensorInfo, parameters: Container[str], buffers: Container[str], *, has_buffers: bool
) -> bool:
    """Whether a tensor of that local name is one, in a module that registered these `parameters` and `buffers`.

    PyTorch lists a module's buffers behind its parameters: where the order is known and a tensor follows a buffer
    (`has_buffers`), it is one too, unless it is named otherwise.
    """
    if name in parameters:
        return True
    if name in buffers or (name != "weight" and is_buffer(name, info)):  # most are called so
        return False
    return not has_buffers or name in _PARAMETERS


def is_buffer(name: str, info: TensorInfo) -> bool:
    """Whether a tensor of that local name is one. Whole numbers are, but for what is called a weight: quantised ones.

    So is a `bias` of the shape (1, 1, n, n): GPT-2's causal mask.
    """
    if name in _BUFFERS:
        return True
    if name == "weight":
        return False
    shape = info.shape
    if name == "bias" and shape is not None and len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3] > 1:
        return True
    return info.dtype.name not in DIFFERENTIABLE
