"""Makes lbfgs.json and sparse-adam.json: PyTorch 1.13's LBFGS and SparseAdam in double precision.

    apt-get install -y python3-torch
    /usr/bin/python3 test/goldens/optim/make_lbfgs_and_sparse_goldens.py

Losses and gradients of L-BFGS are written out, operation by operation as in test/optim/lbfgs.test.ts, since each
rounding counts. The gradients of SparseAdam are exact in f32.
"""

import json
import math
import pathlib

import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


class Numbers:
    """24 bits of a linear congruential generator, in [-1, 1)."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state * 1664525 + 1013904223) % 2**32
        return (self.state >> 8) / 2**23 - 1

    def array(self, count):
        return [self.next() for _ in range(count)]


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def translated(options):
    values = {"strong_wolfe": "strongWolfe"}
    return {camel(key): values.get(value, value) for key, value in options.items()}


# L-BFGS

def rosenbrock(x):
    """Chained: the sum of 100 (x[i + 1] - x[i]^2)^2 + (1 - x[i])^2."""
    loss, gradient = 0.0, [0.0] * len(x)
    for i in range(len(x) - 1):
        a, b = x[i + 1] - x[i] * x[i], 1 - x[i]
        loss += 100 * a * a + b * b
        gradient[i] += -400 * x[i] * a - 2 * b
        gradient[i + 1] += 200 * a
    return loss, gradient


NUMBERS = Numbers(7)
FEATURES = [[1.0, *NUMBERS.array(3)] for _ in range(40)]
LABELS = [1 if x[1] - 0.5 * x[2] + 0.3 + (i % 3) - 1 > 0 else 0 for i, x in enumerate(FEATURES)]
PENALTY = 0.05


def logistic(w):
    """The mean of log(1 + e^z) - y z with z = w x, and an L2 penalty."""
    loss, gradient = 0.0, [0.0] * len(w)
    for x, y in zip(FEATURES, LABELS):
        z = 0.0
        for a, b in zip(w, x):
            z += a * b
        loss += (math.log(1 + math.exp(z)) - y * z) / len(FEATURES)
        error = (1 / (1 + math.exp(-z)) - y) / len(FEATURES)
        for j, b in enumerate(x):
            gradient[j] += error * b
    for j, a in enumerate(w):
        loss += 0.5 * PENALTY * a * a
        gradient[j] += PENALTY * a
    return loss, gradient


PROBLEMS = {
    # The elements of each parameter, one after another, are those of x.
    "rosenbrock": (rosenbrock, [[-1.5, 2.0]]),
    "rosenbrock of six": (rosenbrock, [[-1.25, 1.5], [0.5], [-0.5, 1.0, 0.25]]),
    "logistic": (logistic, [[0.0], [0.5, -0.5, 0.25]]),
}


def run_lbfgs(problem, steps, options, noise=lambda: 0.0):
    """The state after each step; every loss and gradient is off by a share that `noise` gives."""
    function, start = PROBLEMS[problem]
    parameters = [torch.nn.Parameter(torch.tensor(p)) for p in start]
    optimizer = torch.optim.LBFGS(parameters, **options)

    def closure():
        loss, gradient = function([x for p in parameters for x in p.detach().tolist()])
        at = 0
        for p in parameters:
            p.grad = torch.tensor([g * (1 + noise()) for g in gradient[at:at + p.numel()]])
            at += p.numel()
        return torch.tensor(loss * (1 + noise()))

    trajectory = []
    for _ in range(steps):
        loss = float(optimizer.step(closure))
        state = optimizer.state[parameters[0]]
        trajectory.append({
            "loss": loss,
            "params": [x for p in parameters for x in p.detach().tolist()],
            "nIter": state["n_iter"],
            "funcEvals": state["func_evals"],
        })
    return trajectory


def lbfgs(problem, steps, options):
    """A trajectory; `spread` is how far it moves where everything is off by some units in the last place."""
    trajectory = run_lbfgs(problem, steps, options)
    for step in trajectory:
        step["spread"] = 0.0
    for seed in range(10):
        numbers = Numbers(seed)
        noisy = run_lbfgs(problem, steps, options, lambda: 4 * 2**-53 * numbers.next())
        for step, other in zip(trajectory, noisy):
            distances = [abs(a - b) for a, b in zip(step["params"], other["params"])]
            step["spread"] = max(step["spread"], abs(step["loss"] - other["loss"]), *distances)
    return {"problem": problem, "options": translated(options), "trajectory": trajectory}


WOLFE = {"line_search_fn": "strong_wolfe"}
LBFGS = {
    "rosenbrock, strong Wolfe": lbfgs("rosenbrock", 4, WOLFE),
    "rosenbrock, some iterations at a time": lbfgs("rosenbrock", 12, {**WOLFE, "max_iter": 3}),
    "rosenbrock, few evaluations": lbfgs("rosenbrock", 10, {**WOLFE, "max_iter": 10, "max_eval": 4}),
    "rosenbrock, a short first trial": lbfgs("rosenbrock", 5, {**WOLFE, "lr": 0.05}),
    "rosenbrock, without a line search": lbfgs("rosenbrock", 6, {"lr": 0.1, "max_iter": 10}),
    "rosenbrock of six, a short history": lbfgs("rosenbrock of six", 15, {**WOLFE, "max_iter": 5, "history_size": 2}),
    "rosenbrock of six, tolerances": lbfgs(
        "rosenbrock of six", 3, {**WOLFE, "tolerance_grad": 1.0, "tolerance_change": 1e-2, "max_iter": 100}),
    "logistic, strong Wolfe": lbfgs("logistic", 3, {**WOLFE, "max_iter": 4}),
    "logistic, without a line search": lbfgs("logistic", 3, {"max_iter": 5, "history_size": 3}),
}


# SparseAdam

SHAPES = [[7, 3], [5], [4, 2, 2]]
STEPS = 60
SAMPLED = [1, 2, 5, 20, 60]


def sparse_inputs():
    numbers = Numbers(11)
    start = [torch.tensor(numbers.array(math.prod(shape))).reshape(shape) for shape in SHAPES]
    steps = []
    for k in range(STEPS):
        step = []
        for shape in SHAPES:
            # Rows in any order, some of them several times; the last row only later. None at all is an error in PyTorch.
            count = 1 + (k * 5 + len(shape)) % 7
            rows = shape[0] - (1 if k < 10 else 0)
            indices = [int((numbers.next() + 1) / 2 * rows) for _ in range(count)]
            step.append({"indices": indices, "values": numbers.array(count * math.prod(shape[1:]))})
        steps.append(step)
    return start, steps


def sparse_adam(options):
    options = dict(options)
    rates, groups = options.pop("rates", None), options.pop("groups", None)
    start, steps = sparse_inputs()
    parameters = [torch.nn.Parameter(p.clone()) for p in start]
    given = [{"params": [p], **group} for p, group in zip(parameters, groups)] if groups else parameters
    optimizer = torch.optim.SparseAdam(given, **options)
    trajectory = []
    for k, step in enumerate(steps):
        for p, shape, gradient in zip(parameters, SHAPES, step):
            values = torch.tensor(gradient["values"]).reshape([len(gradient["indices"]), *shape[1:]])
            p.grad = torch.sparse_coo_tensor(torch.tensor([gradient["indices"]], dtype=torch.int64), values, shape)
        if rates:
            for group in optimizer.param_groups:
                group["lr"] = rates / (1 + k)
        optimizer.step()
        if k + 1 in SAMPLED:
            trajectory.append([x for p in parameters for x in p.detach().reshape(-1).tolist()])
    content = {"options": translated(options), "trajectory": trajectory}
    if rates:
        content["rates"] = rates
    if groups:
        content["groups"] = [translated(group) for group in groups]
    return content


SPARSE_ADAM = {
    "defaults": {},
    "other betas and eps": {"lr": 0.01, "betas": (0.7, 0.95), "eps": 1e-3},
    "betas of zero": {"lr": 0.01, "betas": (0.0, 0.0), "eps": 1e-4},
    "maximize": {"lr": 0.01, "maximize": True},
    "changing lr": {"rates": 0.05},
    "groups": {"groups": [{"lr": 0.05}, {"betas": (0.5, 0.9), "maximize": True}, {"eps": 1e-2}]},
}


def write(name, content):
    path = pathlib.Path(__file__).parent / name
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n")


write("lbfgs.json", {
    "features": FEATURES, "labels": LABELS, "penalty": PENALTY,
    "problems": {name: start for name, (_, start) in PROBLEMS.items()},
    "cases": LBFGS,
})
start, steps = sparse_inputs()
write("sparse-adam.json", {
    "shapes": SHAPES, "sampled": SAMPLED, "steps": steps,
    "start": [p.reshape(-1).tolist() for p in start],
    "cases": {title: sparse_adam(options) for title, options in SPARSE_ADAM.items()},
})
