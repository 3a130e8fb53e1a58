"""PyTorch as a contestant: requests and answers are lines of JSON.

{"load": true} -> {"version"}
{"prepare": problem, "threads": n} -> {"contestant": id} or {"contestant": null} for an op that is not here
{"time": id, "milliseconds": t} -> {"seconds"}, the median of a call
{"run": id} -> {}
{"values": id, "indices": [...]} -> {"values"} of what it computed last
{"release": id} -> {}
"""

import ctypes
import json
import sys
import time

import numpy as np
import torch

torch.set_grad_enabled(False)

try:
    openblas = ctypes.CDLL("libopenblas.so.0")
except OSError:
    openblas = None


def floats(length, seed, scale, type="f32", file=None, header=0):
    """The numbers of data.mjs."""
    if type == "mnist":
        pixels = np.fromfile(file, np.uint8, length, offset=header + 784 * seed)
        return torch.from_numpy((pixels * scale).astype(np.float32))
    if seed == 0:
        return torch.full((length,), scale, dtype=torch.float32)
    index = np.arange(1, length + 1, dtype=np.uint32)
    x = index * np.uint32(0x9E3779B1) ^ np.uint32(seed * 0x85EBCA6B & 0xFFFFFFFF)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    x ^= x >> np.uint32(12)
    return torch.from_numpy(((x / 2.0**31 - 1) * scale).astype(np.float32))


# Each gives a function that computes, and the tensor, or the function of a tensor, that it computes.


def gemm(p, a, b):
    m, n, k, count = p["m"], p["n"], p["k"], p["count"]
    factors = b.view(count, k, n)
    states = [a.view(m, k)] + [torch.empty(m, n) for _ in range(count)]

    def run():
        for i in range(count):
            torch.mm(states[i], factors[i], out=states[i + 1])

    return run, states[-1]


def batched_gemm(p, a, b):
    x, y = a.view(p["batch"], p["m"], p["k"]), b.view(p["batch"], p["k"], p["n"])
    out = torch.empty(p["batch"], p["m"], p["n"])
    return lambda: torch.bmm(x, y, out=out), out


def linear_int8(p, x, weight):
    engines = torch.backends.quantized.supported_engines
    torch.backends.quantized.engine = next(e for e in ("fbgemm", "onednn", "qnnpack") if e in engines)
    layer = torch.nn.Linear(p["k"], p["n"], bias=False)
    layer.weight.copy_(weight.view(p["n"], p["k"]))
    layer = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(layer), dtype=torch.qint8)
    rows = x.view(p["m"], p["k"])
    return keeping(lambda: layer(rows))


def keeping(compute):
    """For what has no output argument."""
    kept = []

    def run():
        kept[:] = [compute()]

    return run, lambda: kept[0]


def attention(p, q, k, v):
    q, k, v = (t.view(p["batch"], p["heads"], p["length"], p["width"]) for t in (q, k, v))
    scale = p["width"] ** -0.5
    return keeping(lambda: torch.softmax(q @ k.transpose(-1, -2) * scale, -1) @ v)


def softmax(p, x):
    rows = x.view(p["rows"], p["columns"])
    return keeping(lambda: torch.softmax(rows, -1))


def layer_norm(p, x, gamma, beta):
    rows = x.view(p["rows"], p["columns"])
    return keeping(lambda: torch.layer_norm(rows, [p["columns"]], gamma, beta, p["eps"]))


def gelu(p, x):
    rows = x.view(p["rows"], p["columns"])
    return keeping(lambda: torch.nn.functional.gelu(rows))


def chain(p, x, residual, gamma, beta):
    x, residual = (t.view(p["rows"], p["columns"]) for t in (x, residual))
    silu = torch.nn.functional.silu
    return keeping(lambda: torch.layer_norm(silu(x) + residual, [p["columns"]], gamma, beta, p["eps"]))


def optimizer(p, weights, gradients):
    """As many equal tensors as asked for; the options have names of their own only where there are two words."""
    if p["pytorch"] is False:
        return None
    names = {"weightDecay": "weight_decay"}
    options = {names.get(name, name): value for name, value in {**p["options"], **p["pytorch"]}.items()}
    count = p.get("tensors", 1)
    parameters = [torch.nn.Parameter(part.clone()) for part in weights.chunk(count)]
    for parameter, gradient in zip(parameters, gradients.chunk(count)):
        parameter.grad = gradient.clone() if count > 1 else gradient
    made = getattr(torch.optim, p["method"])(parameters, **options)
    return made.step, lambda: torch.cat([parameter.detach() for parameter in parameters])


def small_add(p, a, b):
    out = torch.empty_like(a)
    return lambda: torch.add(a, b, out=out), out


def small_program(p, a, b):
    def compute():
        x = a
        for step in range(p["steps"]):
            x = x * b if step % 2 else x + b
        return x

    return keeping(compute)


def digits_model(p, tensors):
    widths = p["widths"]
    layers = [torch.nn.Linear(a, b) for a, b in zip(widths, widths[1:])]
    for layer, w, b in zip(layers, tensors[::2], tensors[1::2]):
        layer.weight.copy_(w.view_as(layer.weight))
        layer.bias.copy_(b)
    relu = torch.nn.ReLU
    return torch.nn.Sequential(layers[0], relu(), layers[1], relu(), layers[2])


def digits(p, x, *tensors):
    model, rows = digits_model(p, tensors), x.view(p["batch"], p["widths"][0])
    return keeping(lambda: model(rows))


def train_digits(p, x, *tensors):
    model, rows = digits_model(p, tensors), x.view(p["batch"], p["widths"][0])
    labels = torch.tensor(p["labels"])
    o = p["options"]
    adam = torch.optim.AdamW(
        model.parameters(), lr=o["lr"], betas=o["betas"], eps=o["eps"], weight_decay=o["weightDecay"]
    )

    def step():
        with torch.enable_grad():
            adam.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(model(rows), labels)
            loss.backward()
            adam.step()
        return loss

    run, out = keeping(step)
    for _ in range(p["warmUp"]):
        run()
    return run, out


def encoder(p, *tensors):
    """By its own encoder, whose evaluation mode has fused kernels."""
    s = p["shape"]
    hidden = s["hidden"]
    by_name = dict(zip(p["inputs"], tensors))
    layer = torch.nn.TransformerEncoderLayer(
        hidden, s["heads"], s["intermediate"], activation="gelu", layer_norm_eps=1e-12, batch_first=True
    )
    model = torch.nn.TransformerEncoder(layer, s["layers"]).eval()
    own = {
        "self_attn.in_proj_": "queryKeyValue.",
        "self_attn.out_proj.": "attentionOutput.",
        "norm1.": "attentionNorm.",
        "linear1.": "intermediate.",
        "linear2.": "output.",
        "norm2.": "outputNorm.",
    }
    for i, one in enumerate(model.layers):
        for name, parameter in one.named_parameters():
            kind = name.replace("in_proj_", "in_proj_.").rsplit(".", 1)[1]
            prefix = next(ours for theirs, ours in own.items() if name.startswith(theirs))
            parameter.copy_(by_name[f"layers.{i}.{prefix}{kind}"].view_as(parameter))
    table = {k: by_name[f"embeddings.{k}Embeddings.weight"].view(-1, hidden) for k in ("word", "position", "tokenType")}
    gamma, beta = by_name["embeddings.norm.weight"], by_name["embeddings.norm.bias"]
    ids = torch.tensor(p["tokens"]).view(p["batch"], p["length"])

    def run():
        x = table["word"][ids] + table["position"][: p["length"]] + table["tokenType"][0]
        return model(torch.layer_norm(x, [hidden], gamma, beta, 1e-12))

    return keeping(run)


OPS = {
    "digits": digits,
    "trainDigits": train_digits,
    "encoder": encoder,
    "gemm": gemm,
    "batchedGemm": batched_gemm,
    "linearInt8": linear_int8,
    "attention": attention,
    "softmaxRows": softmax,
    "layerNormRows": layer_norm,
    "geluRows": gelu,
    "chainRows": chain,
    "optimizer": optimizer,
    "smallAdd": small_add,
    "smallProgram": small_program,
}

contestants = {}


def prepare(request):
    problem = request["prepare"]
    op = OPS.get(problem["op"])
    inputs = [floats(**spec) for spec in problem["inputs"].values()] if op else []
    made = op(problem, *inputs) if op else None
    if made is None:
        return {"contestant": None}
    key = len(contestants)
    contestants[key] = (*made, request["threads"])
    return {"contestant": key}


def set_threads(threads):
    """Debian's PyTorch multiplies with OpenBLAS on POSIX threads, which torch.set_num_threads does not reach."""
    torch.set_num_threads(threads)
    if openblas:
        openblas.openblas_set_num_threads(threads)


def measure(request):
    run, _, threads = contestants[request["time"]]
    set_threads(threads)
    budget = request["milliseconds"] / 1e3

    def repeat(seconds):
        times = []
        start = time.perf_counter()
        while not times or times[-1][1] - start < seconds:
            before = time.perf_counter()
            run()
            times.append((before, time.perf_counter()))
        return [after - before for before, after in times]

    repeat(budget / 4)
    return {"seconds": float(np.median(repeat(budget)))}


def run_once(request):
    run, _, threads = contestants[request["run"]]
    set_threads(threads)
    run()
    return {}


def values(request):
    _, out, _ = contestants[request["values"]]
    flat = (out() if callable(out) and not isinstance(out, torch.Tensor) else out).detach().reshape(-1)
    return {"values": flat[torch.tensor(request["indices"])].tolist()}


def answer(request):
    if "load" in request:
        return {"version": torch.__version__}
    if "prepare" in request:
        return prepare(request)
    if "time" in request:
        return measure(request)
    if "run" in request:
        return run_once(request)
    if "values" in request:
        return values(request)
    contestants[request["release"]] = None
    return {}


for line in sys.stdin:
    try:
        print(json.dumps(answer(json.loads(line))), flush=True)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
