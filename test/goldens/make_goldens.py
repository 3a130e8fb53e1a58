"""Makes the goldens of test/nn and test/ops, and those of clipping, with PyTorch 1.13, in double precision.

    apt-get install -y python3-torch
    /usr/bin/python3 test/goldens/make_goldens.py

Every input is exact in f32, so that the same goldens serve f32 and f64.
"""

import json
import math
import pathlib

import torch

HERE = pathlib.Path(__file__).parent
torch.manual_seed(20240501)
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def values(*shape, scale=1.0):
    return (torch.randn(*shape) * scale).float().double()


def plain(tensor):
    return tensor.detach().reshape(-1).tolist()


def pack(tensor):
    return {"shape": list(tensor.shape), "data": plain(tensor)}


def write(path, content):
    (HERE / path).write_text(json.dumps(content, separators=(",", ":")) + "\n")


def module_case(module, *inputs, loss=None):
    """Output, and gradients of sum(output * weights), or of the loss, for inputs and parameters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.float().double())
    floats = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    output = module(*floats)
    weights = values(*output.shape)
    total = loss(output) if loss else (output * weights).sum()
    total.backward()
    return {
        "inputs": [pack(x) for x in inputs],
        "parameters": {name: pack(p) for name, p in module.named_parameters()},
        "output": pack(output),
        "weights": pack(weights),
        "loss": total.item(),
        "inputGradients": [pack(x.grad) if x.is_floating_point() else None for x in floats],
        "parameterGradients": {name: pack(p.grad) for name, p in module.named_parameters()},
    }


def layers():
    nn = torch.nn
    labels = torch.tensor([2, 0, 5, 5, 3, 1, 2])
    target = values(4, 3)
    norm = nn.LayerNorm(9)
    with torch.no_grad():
        norm.weight.copy_(values(9))
        norm.bias.copy_(values(9))
    mlp = nn.Sequential(nn.Linear(7, 19), nn.GELU(), nn.LayerNorm(19), nn.Linear(19, 17), nn.ReLU(), nn.Linear(17, 6))
    spread = torch.tensor([-40.0, -10, -3.5, -1, -0.75, -1e-3, 0, 1e-9, 0.3, 1, 2.75, 6, 12, 40]).float().double()
    write("nn/layers.json", {
        "linear": module_case(nn.Linear(5, 4), values(3, 5)),
        "linear without bias": module_case(nn.Linear(5, 4, bias=False), values(3, 5)),
        "linear of rank 3": module_case(nn.Linear(5, 4), values(2, 3, 5)),
        "linear of rank 1": module_case(nn.Linear(5, 4), values(5)),
        "embedding": module_case(nn.Embedding(6, 3), torch.tensor([[1, 1, 5], [0, 1, 3]])),
        "layerNorm": module_case(norm, values(2, 3, 9, scale=4)),
        "layerNorm with eps 0.5": module_case(nn.LayerNorm(9, eps=0.5), values(4, 9)),
        "gelu": module_case(nn.GELU(), spread),
        "relu": module_case(nn.ReLU(), spread),
        "softmax": module_case(nn.Softmax(dim=-1), values(3, 7, scale=3)),
        "logSoftmax": module_case(nn.LogSoftmax(dim=-1), values(3, 7, scale=3)),
        "crossEntropy": {
            **module_case(nn.Identity(), values(7, 6, scale=3), loss=lambda y: nn.functional.cross_entropy(y, labels)),
            "labels": labels.tolist(),
        },
        "mseLoss": {
            **module_case(nn.Identity(), values(4, 3), loss=lambda y: nn.functional.mse_loss(y, target)),
            "target": pack(target),
        },
        "mlp": {
            **module_case(mlp, values(7, 7), loss=lambda y: nn.functional.cross_entropy(y, labels)),
            "labels": labels.tolist(),
        },
    })


def clipping():
    def case(gradients, max_norm):
        parameters = []
        for gradient in gradients:
            parameter = torch.nn.Parameter(torch.zeros_like(gradient))
            parameter.grad = gradient.clone()
            parameters.append(parameter)
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        # As text where JSON has no word for it.
        text = lambda numbers: [n if math.isfinite(n) else str(n) for n in numbers]
        return {
            "maxNorm": max_norm if math.isfinite(max_norm) else str(max_norm),
            "gradients": [{"shape": list(g.shape), "data": text(plain(g))} for g in gradients],
            "norm": text([norm.item()])[0],
            "clipped": [text(plain(p.grad)) for p in parameters],
        }

    some = [values(3, 4), values(5), values(1)]
    nan, inf = values(2, 2), values(2, 2)
    nan[0, 1] = math.nan
    inf[1, 0] = math.inf
    write("optim/clipping.json", {
        "above the bound": case(some, 0.5),
        "under the bound": case(some, 100.0),
        "at nothing": case(some, 0.0),
        "of zeros": case([torch.zeros(3)], 1.0),
        "huge": case([g * 2.0**60 for g in some], 2.0),
        "NaN": case([nan, values(3)], 1.0),
        "infinity": case([inf, values(3)], 1.0),
        "without a bound": case(some, math.inf),
    })


class RMSNorm(torch.nn.Module):
    """The formula of torch.nn.RMSNorm, which PyTorch 1.13 does not have."""

    def __init__(self, features, eps):
        super().__init__()
        self.weight = torch.nn.Parameter(values(features))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rms_norms():
    write("nn/rms-norm.json", {
        "rmsNorm": module_case(RMSNorm(9, torch.finfo(torch.float32).eps), values(2, 3, 9, scale=4)),
        "rmsNorm with eps 0.5": module_case(RMSNorm(9, 0.5), values(4, 9)),
    })


def attention():
    """softmax(scale q k^T) v and the gradients of sum(output * weights); PyTorch 1.13 has no public function for it."""
    def case(q, k, v, mask=None, causal=False, scale=None):
        q, k, v = (x.clone().requires_grad_() for x in (q, k, v))
        scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if causal:
            scores = scores.masked_fill(~torch.ones(scores.shape[-2:], dtype=torch.bool).tril(), -math.inf)
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        output = torch.softmax(scores, -1) @ v
        weights = values(*output.shape)
        (output * weights).sum().backward()
        return {
            "inputs": [pack(x) for x in (q, k, v)],
            "mask": None if mask is None else {"shape": list(mask.shape), "data": mask.int().reshape(-1).tolist()},
            "options": {"isCausal": causal, **({} if scale is None else {"scale": scale})},
            "output": pack(output),
            "weights": pack(weights),
            "gradients": [pack(x.grad) for x in (q, k, v)],
        }

    def qkv(lead, queries, keys, depth, width):
        return values(*lead, queries, depth, scale=2), values(*lead, keys, depth, scale=2), values(*lead, keys, width)

    lengths = torch.tensor([7, 3]).reshape(2, 1, 1, 1)
    dense = torch.rand(5, 7) < 0.5
    dense[:, 2] = True
    write("ops/attention.json", {
        "self-attention": case(*qkv([], 9, 9, 8, 8)),
        "cross-attention": case(*qkv([2, 2], 3, 5, 4, 6)),
        "one query": case(*qkv([2], 1, 19, 8, 3)),
        "causal": case(*qkv([], 20, 20, 5, 3), causal=True),
        "causal with more keys": case(*qkv([2], 4, 7, 3, 4), causal=True),
        "causal with more queries": case(*qkv([2], 7, 4, 3, 4), causal=True),
        "padding": case(*qkv([2, 2], 5, 7, 3, 2), mask=torch.arange(7) < lengths),
        "a dense mask": case(*qkv([2], 5, 7, 3, 6), mask=dense),
        "causal with padding": case(*qkv([2, 1], 7, 7, 3, 4), mask=torch.arange(7) < lengths, causal=True),
        "a scale": case(*qkv([], 6, 5, 4, 3), scale=1.5),
        "keys for all heads": case(values(2, 3, 4, 4), values(2, 1, 5, 4), values(1, 5, 2)),
    })


layers()
clipping()
rms_norms()
attention()
