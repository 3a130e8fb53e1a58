"""Makes test/goldens/optim/torch: the state of PyTorch 1.13's optimizers after 20 steps in double precision, as
safetensors files, and in continuations.json the parameters then, and after 20 steps more.

    apt-get install -y python3-torch
    /usr/bin/python3 test/goldens/optim/make_torch_states.py

Start and gradients are those of make_goldens.py beside it, so that test/optim/support.ts has them.
"""

import json
import pathlib
import struct

import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

SHAPES = [[3, 4], [5]]
STEPS = 20
SEED = 20240501
FOLDER = pathlib.Path(__file__).parent / "torch"
DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.int64: "I64"}

optim = torch.optim
CASES = {
    "SGD": (optim.SGD, {"lr": 0.1}),
    "SGD, momentum": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "Adam": (optim.Adam, {"lr": 0.01}),
    "Adam, amsgrad": (optim.Adam, {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1}),
    "AdamW": (optim.AdamW, {"lr": 0.01}),
    "AdamW, amsgrad": (optim.AdamW, {"lr": 0.01, "amsgrad": True}),
    # foreach: the other version multiplies one factor twice.
    "NAdam": (optim.NAdam, {"lr": 0.01, "foreach": True}),
    "RAdam": (optim.RAdam, {"lr": 0.01}),
    "Adamax": (optim.Adamax, {"lr": 0.01}),
    "Adagrad": (optim.Adagrad, {"lr": 0.1, "lr_decay": 0.05, "initial_accumulator_value": 0.5}),
    "Adadelta": (optim.Adadelta, {"lr": 0.5}),
    "RMSprop": (optim.RMSprop, {"lr": 0.01}),
    "SparseAdam": (optim.SparseAdam, {"lr": 0.01}),
    "RMSprop, everything": (optim.RMSprop, {"lr": 0.001, "momentum": 0.5, "centered": True, "eps": 1e-2}),
}


def gradients():
    """24 bits of a linear congruential generator, in [-1, 1): start, then the gradients of each step."""
    state = SEED

    def tensor(shape):
        nonlocal state
        values = []
        for _ in range(torch.Size(shape).numel()):
            state = (state * 1664525 + 1013904223) % 2**32
            values.append((state >> 8) / 2**23 - 1)
        return torch.tensor(values).reshape(shape)

    yield [tensor(shape) for shape in SHAPES]
    for step in range(2 * STEPS):
        matrix, vector = (tensor(shape) for shape in SHAPES)
        matrix[0, 0] = 0
        if step >= 3:
            matrix[0, 1] = 0
        vector[1] *= 1024
        vector[2] /= 1024
        yield [matrix, vector]


def write_safetensors(path, tensors):
    """What safetensors.torch.save_file does, for the dtypes that occur here."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        values = tensor.reshape(-1).tolist()
        letter = {"F64": "d", "F32": "f", "I64": "q"}[DTYPES[tensor.dtype]]
        packed = struct.pack(f"<{len(values)}{letter}", *values)
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(packed)],
        }
        data += packed
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def flat(parameters):
    return [p.detach().reshape(-1).tolist() for p in parameters]


def rows_of(gradient, k):
    """All rows but one, another one in each step."""
    rows = torch.tensor([i for i in range(len(gradient)) if i != k % len(gradient)])
    return torch.sparse_coo_tensor(rows[None], gradient[rows], gradient.shape)


def case(title, make, options):
    start, *steps = gradients()
    parameters = [torch.nn.Parameter(p.clone()) for p in start]
    optimizer = make(parameters, **options)
    stopped = None
    for k, gradient in enumerate(steps):
        if k == STEPS:
            stopped = flat(parameters)
            state = optimizer.state_dict()["state"]
            tensors = {f"state.{i}.{name}": torch.as_tensor(value).contiguous()
                       for i, entry in state.items() for name, value in entry.items() if value is not None}
            write_safetensors(FOLDER / file_of(title), tensors)
        for p, g in zip(parameters, gradient):
            p.grad = rows_of(g, k) if make is optim.SparseAdam else g.clone()
        optimizer.step()
    first = {key: value for key, value in options.items() if key != "foreach"}
    return {"file": file_of(title), "options": first, "stopped": stopped, "end": flat(parameters)}


def file_of(title):
    return title.lower().replace(", ", "-") + ".safetensors"


FOLDER.mkdir(exist_ok=True)
content = {title: case(title, make, options) for title, (make, options) in CASES.items()}
(FOLDER / "continuations.json").write_text(
    json.dumps({"steps": STEPS, "cases": content}, separators=(",", ":")) + "\n")
