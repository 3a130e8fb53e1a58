"""Makes the goldens of convolutions, pooling, batch normalisation, losses and transformers, with PyTorch 1.13, in double.

    apt-get install -y python3-torch
    /usr/bin/python3 test/goldens/nn/make_goldens.py

Every input is exact in f32, so that the same goldens serve f32 and f64.
"""

import json
import pathlib

import torch
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).parent
torch.manual_seed(20261125)
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def values(*shape, scale=1.0):
    return (torch.randn(shape) * scale).float().double()


def pack(tensor):
    return {"shape": list(tensor.shape), "data": tensor.detach().double().reshape(-1).tolist()}


def write(path, content):
    (HERE / path).write_text(json.dumps(content, separators=(",", ":")) + "\n")


def case(module, *inputs, call=None, spread=True, constants=()):
    """Output of a module, gradients of sum(output * weights) for inputs and parameters, and its buffers afterwards."""
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if not value.is_floating_point():
                continue
            if spread:  # biases and scales that start alike would hide one another
                value.add_(torch.randn_like(value) * 0.1 if "var" not in name else torch.rand_like(value))
            value.copy_(value.float().double())
    state = {name: pack(value) for name, value in module.state_dict().items() if value.is_floating_point()}
    floats = [x.clone().requires_grad_() if x.is_floating_point() and i not in constants else x
              for i, x in enumerate(inputs)]
    output = (call or module)(*floats)
    weights = values(*output.shape)
    (output * weights).sum().backward()
    return {
        "inputs": [pack(x) for x in inputs],
        "state": state,
        "output": pack(output),
        "weights": pack(weights),
        "inputGradients": [pack(x.grad) if x.grad is not None else None for x in floats],
        "parameterGradients": {name: pack(p.grad) for name, p in module.named_parameters()},
        "buffers": {name: pack(b) for name, b in module.named_buffers() if b.is_floating_point()},
    }


def layers():
    spread = torch.tensor([-40.0, -10, -3.5, -1, -0.75, -1e-3, 0, 1e-9, 0.3, 1, 2.75, 6, 12, 40]).float().double()
    ties = torch.tensor([[1.0, 1, 0, 2, 2, 2, 0, 1], [0, 0, 0, 0, -1, -1, -1, -1]]).reshape(1, 2, 2, 4)
    trained = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    write("convolutions.json", {
        "conv1d": case(nn.Conv1d(3, 4, 3), values(2, 3, 9)),
        "conv1d with all options": case(
            nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2, bias=False), values(3, 4, 11)),
        "conv2d": case(nn.Conv2d(3, 5, 3), values(2, 3, 6, 7)),
        "conv2d of 1 x 1": case(nn.Conv2d(6, 5, 1), values(3, 6, 4, 3)),
        "conv2d of 1 x 1 in groups": case(nn.Conv2d(6, 4, 1, groups=2), values(2, 6, 4, 3)),
        "conv2d of 1 x 1 with a stride": case(nn.Conv2d(3, 2, 1, stride=2), values(2, 3, 5, 6)),
        "conv2d with all options": case(
            nn.Conv2d(4, 6, (3, 2), stride=(2, 3), padding=(1, 2), dilation=(2, 1), groups=2, bias=False),
            values(2, 4, 9, 8)),
        "conv2d by depth": case(nn.Conv2d(4, 8, 3, padding=1, groups=4), values(2, 4, 5, 5)),
        "conv2d whose kernel is the plane": case(nn.Conv2d(2, 3, (4, 5)), values(2, 2, 4, 5)),
        "maxPool1d": case(nn.MaxPool1d(3, stride=2, padding=1), values(2, 3, 10)),
        "maxPool2d": case(nn.MaxPool2d(2), values(2, 3, 5, 6)),
        "maxPool2d with all options": case(
            nn.MaxPool2d((3, 2), stride=(1, 2), padding=(1, 1), dilation=(2, 1)), values(2, 2, 8, 7)),
        "maxPool2d of equals": case(nn.MaxPool2d(2), ties),
        "avgPool1d": case(nn.AvgPool1d(3, stride=2, padding=1), values(2, 3, 10)),
        "avgPool2d": case(nn.AvgPool2d(2), values(2, 3, 5, 6)),
        "avgPool2d with all options": case(nn.AvgPool2d((3, 2), stride=(1, 2), padding=1), values(2, 2, 6, 7)),
        "adaptiveAvgPool2d to one": case(nn.AdaptiveAvgPool2d(1), values(2, 3, 5, 7)),
        "adaptiveAvgPool2d": case(nn.AdaptiveAvgPool2d((3, 4)), values(2, 3, 7, 6)),
        "adaptiveAvgPool2d to more": case(nn.AdaptiveAvgPool2d((5, 3)), values(2, 1, 3, 3)),
        "batchNorm1d": case(nn.BatchNorm1d(5), values(7, 5, scale=3) + 10),
        "batchNorm1d of sequences": case(nn.BatchNorm1d(3, eps=0.5, momentum=0.3), values(4, 3, 6)),
        "batchNorm2d": case(nn.BatchNorm2d(4), values(3, 4, 5, 2, scale=2) - 5),
        "batchNorm2d in evaluation": case(nn.BatchNorm2d(4).eval(), values(3, 4, 5, 2, scale=2)),
        "batchNorm1d in evaluation": case(nn.BatchNorm1d(4).eval(), values(3, 4)),
        "a convolutional network": case(trained, values(4, 1, 9, 9)),
        "tanh": case(nn.Tanh(), spread),
        "sigmoid": case(nn.Sigmoid(), spread),
        "silu": case(nn.SiLU(), spread),
        "leakyReLU": case(nn.LeakyReLU(0.2), spread),
        "softmax": case(nn.Softmax(dim=-1), values(3, 7, scale=3)),
        "logSoftmax": case(nn.LogSoftmax(dim=-1), values(3, 7, scale=3)),
        "flatten": case(nn.Flatten(), values(2, 3, 4)),
        "flatten in the middle": case(nn.Flatten(1, 2), values(2, 3, 4, 5)),
    })


def losses():
    def of(fn, options, *inputs, constants=(), **arguments):
        call = lambda *xs: fn(*xs, **arguments)
        return {**case(nn.Identity(), *inputs, call=call, constants=constants), "options": options}

    labels = torch.tensor([2, 0, 5, 5, 3, 1, 2])
    logits = values(7, 6, scale=3)
    a, b = values(4, 3, scale=2), values(4, 3, scale=2)
    some = torch.rand(4, 3).float().double()
    zero = values(4, 3).clone()
    zero[1, 2] = 0
    probabilities = torch.softmax(values(4, 3), -1).float().double()
    probabilities[2, 1] = 0
    signs = torch.tensor([1.0, -1, -1, 1])
    write("losses.json", {
        **{f"crossEntropy {r}": of(F.cross_entropy, {"reduction": r}, logits, labels, reduction=r) for r in ("mean", "sum", "none")},
        **{f"crossEntropy {r}, smoothed, with an ignored label": of(
            F.cross_entropy, {"reduction": r, "labelSmoothing": 0.2, "ignoreIndex": 5},
            logits, labels, reduction=r, label_smoothing=0.2, ignore_index=5) for r in ("mean", "sum", "none")},
        "crossEntropy of nothing but smoothing": of(
            F.cross_entropy, {"labelSmoothing": 1.0}, logits, labels, label_smoothing=1.0),
        **{f"mseLoss {r}": of(F.mse_loss, {"reduction": r}, a, b, reduction=r) for r in ("mean", "sum", "none")},
        **{f"l1Loss {r}": of(F.l1_loss, {"reduction": r}, a, b, reduction=r) for r in ("mean", "sum", "none")},
        "huberLoss": of(F.huber_loss, {}, a, b),
        "huberLoss with a delta": of(F.huber_loss, {"delta": 0.6, "reduction": "none"}, a, b, delta=0.6, reduction="none"),
        "smoothL1Loss": of(F.smooth_l1_loss, {}, a, b),
        "smoothL1Loss with a beta": of(F.smooth_l1_loss, {"beta": 0.6, "reduction": "sum"}, a, b, beta=0.6, reduction="sum"),
        "smoothL1Loss without": of(F.smooth_l1_loss, {"beta": 0}, a, b, beta=0.0),
        **{f"bceWithLogits {r}": of(
            F.binary_cross_entropy_with_logits, {"reduction": r}, zero * 9, some, reduction=r) for r in ("mean", "sum", "none")},
        **{f"klDiv {n}": of(F.kl_div, {"reduction": n}, torch.log_softmax(a, -1).float().double(), probabilities, reduction=r, constants=[1])
           for n, r in (("mean", "mean"), ("sum", "sum"), ("none", "none"), ("batchMean", "batchmean"))},
        "klDiv of logarithms": of(F.kl_div, {"logTarget": True, "reduction": "sum"}, torch.log_softmax(a, -1).float().double(),
                                  torch.log_softmax(b, -1).float().double(), log_target=True, reduction="sum"),
        "cosineSimilarity": of(F.cosine_similarity, {}, a, b, dim=-1),
        "cosineSimilarity along the first": of(F.cosine_similarity, {"axis": 0}, a, b, dim=0),
        "cosineEmbeddingLoss": of(F.cosine_embedding_loss, {}, a, b, signs, constants=[2]),
        "cosineEmbeddingLoss with a margin": of(
            F.cosine_embedding_loss, {"margin": 0.3, "reduction": "none"}, a, b, signs, margin=0.3, reduction="none", constants=[2]),
    })


def with_masks(module, x, mask=None, causal=False):
    """Of an encoder or a layer of one, or of attention by itself; PyTorch's fast path in evaluation is not taken."""
    length = x.shape[1]
    square = nn.Transformer.generate_square_subsequent_mask(length) if causal else None
    if isinstance(module, nn.MultiheadAttention):
        return module(x, x, x, key_padding_mask=mask, attn_mask=square, need_weights=False)[0]
    if isinstance(module, nn.TransformerEncoder):
        return module(x, mask=square, src_key_padding_mask=mask)
    return module(x, src_mask=square, src_key_padding_mask=mask)


class Sinusoids(nn.Module):
    """sin and cos of p / 10000^(i / d), added."""

    def forward(self, x):
        length, width = x.shape[-2:]
        position = torch.arange(length).double().unsqueeze(1)
        even = torch.arange(0, width, 2).double()
        angle = position / 10000 ** (even / width)
        return x + torch.stack([angle.sin(), angle.cos()], -1).reshape(length, -1)[:, :width]


def transformers():
    padding = torch.arange(5) >= torch.tensor([5, 3]).reshape(2, 1)

    def attention(*arguments, **options):
        return nn.MultiheadAttention(*arguments, batch_first=True, **options)

    def masked(module, x, mask=None, causal=False):
        return {
            **case(module, x, call=lambda given: with_masks(module, given, mask, causal)),
            "padding": None if mask is None else {"shape": list(mask.shape), "data": mask.int().reshape(-1).tolist()},
            "isCausal": causal,
        }

    def layer(**options):
        return nn.TransformerEncoderLayer(8, 2, dim_feedforward=12, dropout=0.0, batch_first=True, **options)

    cross = attention(8, 2)
    write("transformers.json", {
        "attention": masked(attention(8, 2), values(2, 5, 8)),
        "attention without bias": masked(attention(6, 3, bias=False), values(2, 5, 6)),
        "attention with padding": masked(attention(8, 2), values(2, 5, 8), padding),
        "causal attention": masked(attention(8, 4), values(2, 5, 8), causal=True),
        "causal attention with padding": masked(attention(8, 4), values(2, 5, 8), padding, True),
        "cross-attention": case(cross, values(2, 3, 8), values(2, 5, 8), values(2, 5, 8),
                                call=lambda q, k, v: cross(q, k, v, key_padding_mask=padding, need_weights=False)[0]),
        "encoder layer": masked(layer(), values(2, 5, 8)),
        "encoder layer with GELU": masked(layer(activation="gelu", layer_norm_eps=0.1), values(2, 5, 8), padding),
        "encoder layer, normalisation first": masked(layer(norm_first=True), values(2, 5, 8), padding, True),
        "encoder": masked(nn.TransformerEncoder(layer(), 2), values(2, 5, 8), padding),
        "encoder, normalisation first": masked(
            nn.TransformerEncoder(layer(norm_first=True, activation="gelu"), 3, nn.LayerNorm(8)), values(2, 5, 8), causal=True),
        "positions": case(Sinusoids(), values(2, 7, 6)),
        "positions of odd width": case(Sinusoids(), values(7, 5)),
    })


layers()
losses()
transformers()
