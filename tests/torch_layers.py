"""At least one live module of every class that `torch.nn` exports, for the tests that compare with PyTorch."""

import warnings
from collections import OrderedDict

import torch
from torch import nn


def every_layer() -> list[nn.Module]:
    """New modules, several of a class where it prints in several ways."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lazy modules and deprecated classes announce themselves
        torch.manual_seed(0)
        return [
            *_containers(),
            *_linear(),
            *_convolutions(),
            *_norms(),
            *_recurrent(),
            *_activations(),
            *_pools(),
            *_pads_and_shapes(),
            *_transformers(),
            *_losses(),
        ]


def _containers() -> list[nn.Module]:
    return [
        nn.Module(),
        nn.Container(),  # pyright: ignore[reportDeprecated]
        nn.Container(a=nn.Linear(2, 2)),  # pyright: ignore[reportDeprecated]
        nn.Sequential(),
        nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Sequential(nn.Flatten())),
        nn.Sequential(OrderedDict(first=nn.Linear(2, 2), second=nn.Tanh())),
        nn.ModuleList(),
        nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 3)]),
        nn.ModuleList([nn.ModuleList([nn.ReLU(), nn.ReLU()]), nn.ModuleDict({"a": nn.ReLU()})]),
        nn.ModuleDict(),
        nn.ModuleDict({"a": nn.Linear(2, 2), "b c": nn.ReLU()}),
        nn.ParameterList(),
        nn.ParameterList([torch.ones(2, 3), torch.tensor(1.0), torch.ones(1, dtype=torch.bfloat16)]),
        nn.ParameterList([torch.ones(2), "text", None, 3]),
        nn.ParameterList([torch.ones(1) for _ in range(12)]),
        nn.ParameterDict(),
        nn.ParameterDict({"b": torch.ones(2, 3), "a": torch.ones(2, dtype=torch.float64), "c": torch.ones(()).half()}),
        nn.ParameterDict(
            {"z": 3, "b": nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False), "d.e": "text"}
        ),
        nn.DataParallel(nn.Linear(2, 2)),
    ]


def _linear() -> list[nn.Module]:
    return [
        nn.Identity(),
        nn.Linear(3, 4),
        nn.Linear(3, 4, bias=False, dtype=torch.bfloat16),
        nn.Linear(0, 4, bias=False),
        nn.LazyLinear(4),
        nn.LazyLinear(4, bias=False),
        nn.Bilinear(2, 3, 4),
        nn.Bilinear(2, 3, 4, bias=False),
        nn.Embedding(10, 4),
        nn.Embedding(10, 4, padding_idx=0, max_norm=1.5, norm_type=3.0, scale_grad_by_freq=True, sparse=True),
        nn.Embedding(10, 4, padding_idx=-1, max_norm=2, norm_type=1),
        nn.EmbeddingBag(10, 4),
        nn.EmbeddingBag(10, 4, max_norm=1.0, norm_type=1.0, scale_grad_by_freq=True, mode="sum", padding_idx=2),
        nn.EmbeddingBag(10, 4, mode="max", sparse=False),
        nn.CosineSimilarity(),
        nn.PairwiseDistance(),
    ]


def _convolutions() -> list[nn.Module]:
    made: list[nn.Module] = []
    for plain, transposed in (
        (nn.Conv1d, nn.ConvTranspose1d),
        (nn.Conv2d, nn.ConvTranspose2d),
        (nn.Conv3d, nn.ConvTranspose3d),
    ):
        made += [
            plain(4, 6, 3),
            plain(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, bias=False, padding_mode="reflect"),
            plain(4, 6, 3, padding="same"),
            plain(4, 6, 1, padding="valid", padding_mode="circular"),
            transposed(4, 6, 3),
            transposed(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, bias=False, dilation=2),
        ]
    for lazy in (nn.LazyConv1d, nn.LazyConv2d, nn.LazyConv3d):
        made += [lazy(6, 3), lazy(6, 3, padding=1, bias=False)]
    for lazy in (nn.LazyConvTranspose1d, nn.LazyConvTranspose2d, nn.LazyConvTranspose3d):
        made += [lazy(6, 3), lazy(6, 3, 2, output_padding=1, bias=False)]
    return [
        *made,
        nn.Conv2d(4, 4, (3, 1), padding=(0, 1), dilation=(1, 2)),
        nn.Fold((4, 5), (2, 2)),
        nn.Fold(4, 2, dilation=2, padding=1, stride=2),
        nn.Unfold(2),
        nn.Unfold((2, 3), dilation=2, padding=1, stride=2),
    ]


def _norms() -> list[nn.Module]:
    made: list[nn.Module] = []
    for norm in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm):
        made += [
            norm(4),
            norm(4, eps=1e-3, momentum=None, affine=False),
            norm(4, track_running_stats=False),
        ]
    for norm in (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d):
        made += [norm(4), norm(4, eps=1e-3, momentum=0.2, affine=True, track_running_stats=True)]
    for norm in (nn.LazyBatchNorm1d, nn.LazyBatchNorm2d, nn.LazyBatchNorm3d):
        made += [norm(), norm(affine=False, track_running_stats=False)]
    for norm in (nn.LazyInstanceNorm1d, nn.LazyInstanceNorm2d, nn.LazyInstanceNorm3d):
        made += [norm(), norm(affine=True, track_running_stats=True)]
    return [
        *made,
        nn.LayerNorm(4),
        nn.LayerNorm([2, 4], eps=1e-12, elementwise_affine=False),
        nn.LayerNorm([4], bias=False),
        nn.RMSNorm(4),
        nn.RMSNorm([2, 4], eps=1e-6, elementwise_affine=False),
        nn.GroupNorm(2, 4),
        nn.GroupNorm(2, 4, eps=1e-3, affine=False),
        nn.LocalResponseNorm(2),
        nn.LocalResponseNorm(3, 0.1, 0.5, 2),
        nn.CrossMapLRN2d(2),
    ]


def _recurrent() -> list[nn.Module]:
    made: list[nn.Module] = []
    for kind in (nn.RNN, nn.LSTM, nn.GRU):
        made += [
            kind(3, 4),
            kind(3, 4, num_layers=2, bias=False, batch_first=True, dropout=0.1, bidirectional=True),
        ]
    for cell in (nn.RNNCell, nn.LSTMCell, nn.GRUCell):
        made += [cell(3, 4), cell(3, 4, bias=False)]
    return [
        *made,
        nn.LSTM(3, 4, proj_size=2),
        nn.RNN(3, 4, nonlinearity="relu"),
        nn.RNNCell(3, 4, nonlinearity="relu"),
        nn.RNNBase("LSTM", 3, 4),
        nn.RNNCellBase(3, 4, True, num_chunks=4),
    ]


def _activations() -> list[nn.Module]:
    inplace = (nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Mish, nn.Hardsigmoid, nn.Hardswish)
    with_values = (nn.ELU, nn.CELU, nn.LeakyReLU, nn.RReLU, nn.Hardtanh)
    dropouts = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    return [
        *(kind(inplace=mode) for kind in (*inplace, *with_values, *dropouts) for mode in (False, True)),
        *(kind(0.25) for kind in (*with_values, *dropouts)),
        *(kind(dim) for kind in (nn.GLU, nn.Softmax, nn.Softmin, nn.LogSoftmax) for dim in (0, -1)),
        nn.Softmax(),
        nn.Softmax2d(),
        nn.Threshold(0.1, 20),
        nn.Threshold(0, 20.5, inplace=True),
        nn.PReLU(),
        nn.PReLU(4),
        nn.GELU(),
        nn.GELU("tanh"),
        nn.Softplus(),
        nn.Softplus(2, 3.5),
        nn.Hardshrink(),
        nn.Softshrink(0.25),
        nn.LogSigmoid(),
        nn.Sigmoid(),
        nn.Softsign(),
        nn.Tanh(),
        nn.Tanhshrink(),
        nn.MultiheadAttention(8, 2),
        nn.MultiheadAttention(8, 2, bias=False, add_bias_kv=True, kdim=4, vdim=6, batch_first=True),
    ]


def _pools() -> list[nn.Module]:
    made: list[nn.Module] = []
    for kind in (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d):
        made += [kind(2), kind(3, stride=2, padding=1, dilation=2, ceil_mode=True)]
    for kind in (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d):
        made += [kind(2), kind(3, 2, padding=1, ceil_mode=True)]
    for kind in (nn.MaxUnpool1d, nn.MaxUnpool2d, nn.MaxUnpool3d):
        made += [kind(2), kind(3, stride=2, padding=1)]
    for kind in (nn.LPPool1d, nn.LPPool2d, nn.LPPool3d):
        made += [kind(2, 3), kind(1.5, 3, stride=2, ceil_mode=True)]
    for kind in (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d):
        made += [kind(1), kind(4)]
    for kind in (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d):
        made += [kind(1), kind(4, return_indices=True)]
    return [
        *made,
        nn.MaxPool2d((2, 3), stride=(1, 2)),
        nn.AdaptiveAvgPool2d((None, 7)),
        nn.FractionalMaxPool2d(2, output_size=3),
        nn.FractionalMaxPool3d(2, output_ratio=0.5),
    ]


def _pads_and_shapes() -> list[nn.Module]:
    constant = (nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)
    plain = (
        *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
        *(nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d),
        *(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d),
        *(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d),
    )
    return [
        *(kind(1, 3.5) for kind in constant),
        *(kind(2) for kind in plain),
        nn.ConstantPad1d((1, 2), 0),
        nn.Upsample(scale_factor=2),
        nn.Upsample(size=(4, 5), mode="bilinear", align_corners=True),
        nn.Upsample(scale_factor=(1.5, 2.0), mode="bicubic", recompute_scale_factor=True),
        nn.Upsample(),
        nn.UpsamplingNearest2d(scale_factor=2),
        nn.UpsamplingBilinear2d(size=(2, 3)),
        nn.PixelShuffle(2),
        nn.PixelUnshuffle(3),
        nn.ChannelShuffle(2),
        nn.Flatten(),
        nn.Flatten(0, 2),
        nn.Unflatten(1, (2, 3)),
        nn.Unflatten(-1, (6,)),
    ]


def _transformers() -> list[nn.Module]:
    encoder = nn.TransformerEncoderLayer(8, 2, 16)
    decoder = nn.TransformerDecoderLayer(8, 2, 16, bias=False, batch_first=True)
    return [
        encoder,
        nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", norm_first=True),
        decoder,
        nn.TransformerEncoder(encoder, 2),
        nn.TransformerDecoder(decoder, 2, nn.LayerNorm(8)),
        nn.Transformer(8, 2, num_encoder_layers=1, num_decoder_layers=2, dim_feedforward=16),
    ]


def _losses() -> list[nn.Module]:
    return [
        nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10]),
        nn.BCELoss(),
        nn.BCELoss(weight=torch.ones(3)),
        nn.BCEWithLogitsLoss(),
        nn.BCEWithLogitsLoss(pos_weight=torch.ones(3)),
        nn.CTCLoss(),
        nn.CosineEmbeddingLoss(),
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(weight=torch.ones(3), label_smoothing=0.1, reduction="sum"),
        nn.GaussianNLLLoss(),
        nn.HingeEmbeddingLoss(),
        nn.HuberLoss(),
        nn.KLDivLoss(),
        nn.L1Loss(),
        nn.LinearCrossEntropyLoss(4, 3),
        nn.LinearCrossEntropyLoss(
            4, 3, bias=True, out_features=(2,), reduction="sum", ignore_index=1, label_smoothing=0.1
        ),
        nn.MSELoss(),
        nn.MarginRankingLoss(),
        nn.MultiLabelMarginLoss(),
        nn.MultiLabelSoftMarginLoss(),
        nn.MultiMarginLoss(),
        nn.NLLLoss(),
        nn.NLLLoss2d(),  # pyright: ignore[reportDeprecated]
        nn.PoissonNLLLoss(),
        nn.SmoothL1Loss(),
        nn.SoftMarginLoss(),
        nn.TripletMarginLoss(),
        nn.TripletMarginWithDistanceLoss(),
    ]
