"""Makes test/goldens/optim/trajectories.json: PyTorch 1.13's optimizers in double precision, 200 steps.

    apt-get install -y python3-torch
    /usr/bin/python3 test/goldens/optim/make_goldens.py

Start and gradients come from a generator that test/optim/support.ts has too, so that they need not be stored. All are
exact in f32, so that the same goldens serve f32 and f64.
"""

import json
import pathlib

import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

SHAPES = [[3, 4], [5]]
STEPS = 200
SAMPLED = [1, 2, 5, 20, 75, 200]
SEED = 20240501


class Numbers:
    """24 bits of a linear congruential generator, in [-1, 1)."""

    def __init__(self):
        self.state = SEED

    def tensor(self, shape):
        def next_number():
            self.state = (self.state * 1664525 + 1013904223) % 2**32
            return (self.state >> 8) / 2**23 - 1

        return torch.tensor([next_number() for _ in range(torch.Size(shape).numel())]).reshape(shape)


def inputs():
    numbers = Numbers()
    start = [numbers.tensor(shape) for shape in SHAPES]
    steps = []
    for _ in range(STEPS):
        matrix, vector = (numbers.tensor(shape) for shape in SHAPES)
        matrix[0, 0] = 0  # never a gradient
        vector[1] *= 1024
        vector[2] /= 1024
        steps.append([matrix, vector])
    for matrix, _ in steps[3:]:
        matrix[0, 1] = 0  # none any more
    return start, steps


def case(make, fixed, options):
    """One trajectory. `groups` are options of one group a parameter, `changes` options from a step on."""
    options = dict(options)
    rates, groups, changes = (options.pop(key, None) for key in ("rates", "groups", "changes"))
    start, steps = inputs()
    parameters = [torch.nn.Parameter(p.clone()) for p in start]
    given = [{"params": [p], **group} for p, group in zip(parameters, groups)] if groups else parameters
    optimizer = make(given, **options, **fixed)
    trajectory = []
    for step, gradient in enumerate(steps):
        for p, g in zip(parameters, gradient):
            p.grad = g.clone()
        for group in optimizer.param_groups:
            group.update((changes or {}).get(step, {}))
            if rates:
                group["lr"] = rates / (1 + step)
        optimizer.step()
        if step + 1 in SAMPLED:
            trajectory.append([x for p in parameters for x in p.detach().reshape(-1).tolist()])

    def translated(source):
        parts = {key: key.split("_") for key in source}
        return {first + "".join(part.capitalize() for part in rest): source["_".join([first, *rest])]
                for first, *rest in parts.values()}

    content = {"options": translated(options), "trajectory": trajectory}
    if rates:
        content["rates"] = rates
    if groups:
        content["groups"] = [translated(group) for group in groups]
    if changes:
        content["changes"] = {step: translated(change) for step, change in changes.items()}
    return content


ADAM = {
    "defaults": {},
    "weight decay": {"lr": 0.01, "weight_decay": 0.3},
    "no weight decay": {"lr": 0.01, "weight_decay": 0.0},
    "other betas and eps": {"lr": 0.01, "betas": (0.7, 0.95), "eps": 1e-3},
    "betas of zero": {"lr": 0.01, "betas": (0.0, 0.0)},
    "maximize": {"lr": 0.01, "maximize": True, "weight_decay": 0.1},
    "amsgrad": {"lr": 0.01, "amsgrad": True},
    "amsgrad with everything": {
        "lr": 0.02, "amsgrad": True, "betas": (0.8, 0.9), "eps": 1e-4, "weight_decay": 0.05, "maximize": True},
    "changing lr": {"lr": 0.01, "rates": 0.05},
    "groups": {"lr": 0.01, "groups": [{"lr": 0.05, "weight_decay": 0.0}, {"betas": (0.5, 0.9), "maximize": True}]},
    "groups with amsgrad": {"lr": 0.01, "groups": [{"amsgrad": True}, {"weight_decay": 0.2}]},
}

CASES = {
    "SGD": (torch.optim.SGD, {}, {
        "plain": {"lr": 0.1},
        "momentum": {"lr": 0.1, "momentum": 0.9},
        "dampening": {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
        "nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        "weight decay": {"lr": 0.1, "weight_decay": 0.05},
        "maximize": {"lr": 0.1, "maximize": True},
        "maximize with weight decay": {"lr": 0.01, "maximize": True, "weight_decay": 0.05},
        "everything": {"lr": 0.01, "momentum": 0.8, "nesterov": True, "weight_decay": 0.05, "maximize": True},
        "changing lr": {"lr": 0.1, "momentum": 0.9, "rates": 0.05},
        "groups": {
            "lr": 0.1,
            "momentum": 0.9,
            "groups": [{"lr": 0.02, "weight_decay": 0.1}, {"momentum": 0.5, "dampening": 0.2}],
        },
        "momentum switched on, off and on": {
            "lr": 0.1,
            "dampening": 0.3,
            "changes": {3: {"momentum": 0.9}, 10: {"momentum": 0}, 15: {"momentum": 0.8}},
        },
    }),
    "Adam": (torch.optim.Adam, {}, ADAM),
    "AdamW": (torch.optim.AdamW, {}, ADAM),
    # The version for many tensors has the product of the paper; the other multiplies one factor twice.
    "NAdam": (torch.optim.NAdam, {"foreach": True}, {
        "defaults": {},
        "weight decay": {"weight_decay": 0.1},
        "other betas and eps": {"lr": 0.01, "betas": (0.7, 0.95), "eps": 1e-3},
        "momentum decay": {"lr": 0.01, "momentum_decay": 0.1},
        "changing lr": {"rates": 0.05},
        "groups": {"groups": [{"lr": 0.05, "weight_decay": 0.1}, {"betas": (0.5, 0.9), "momentum_decay": 0.02}]},
    }),
    "RAdam": (torch.optim.RAdam, {}, {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.3},
        "other betas and eps": {"lr": 0.01, "betas": (0.7, 0.95), "eps": 1e-3},
        "never rectified": {"lr": 0.01, "betas": (0.9, 0.5)},
        "changing lr": {"rates": 0.05},
        "groups": {"groups": [{"lr": 0.05, "weight_decay": 0.1}, {"betas": (0.5, 0.9)}]},
    }),
    "Adamax": (torch.optim.Adamax, {}, {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.3},
        "other betas and eps": {"lr": 0.01, "betas": (0.7, 0.95), "eps": 1e-3},
        "maximize": {"lr": 0.01, "maximize": True, "weight_decay": 0.1},
        "changing lr": {"rates": 0.05},
        "groups": {"groups": [{"lr": 0.05, "weight_decay": 0.1}, {"betas": (0.5, 0.9), "maximize": True}]},
    }),
    "Adagrad": (torch.optim.Adagrad, {}, {
        "defaults": {},
        "weight decay": {"weight_decay": 0.3},
        "lr decay and eps": {"lr": 0.1, "lr_decay": 0.05, "eps": 1e-3},
        "initial accumulator value": {"initial_accumulator_value": 0.5},
        "maximize": {"maximize": True, "weight_decay": 0.1},
        "changing lr": {"rates": 0.05},
        "groups": {"groups": [{"lr": 0.05, "weight_decay": 0.1}, {"lr_decay": 0.1, "maximize": True}]},
    }),
    "Adadelta": (torch.optim.Adadelta, {}, {
        "defaults": {},
        "weight decay": {"weight_decay": 0.3},
        "other rho and eps": {"lr": 0.5, "rho": 0.5, "eps": 1e-3},
        "maximize": {"maximize": True, "weight_decay": 0.1},
        "changing lr": {"rates": 5.0},
        "groups": {"groups": [{"lr": 0.5, "weight_decay": 0.1}, {"rho": 0.99, "maximize": True}]},
    }),
    "RMSprop": (torch.optim.RMSprop, {}, {
        "defaults": {},
        "weight decay": {"weight_decay": 0.3},
        "other alpha and eps": {"lr": 0.02, "alpha": 0.5, "eps": 1e-3},
        "momentum": {"momentum": 0.9},
        "centered": {"centered": True, "eps": 1e-3},
        "everything": {
            "lr": 0.001, "alpha": 0.9, "eps": 1e-2, "momentum": 0.5, "centered": True, "weight_decay": 0.1, "maximize": True},
        "changing lr": {"rates": 0.05},
        "groups": {"groups": [{"centered": True, "eps": 1e-3, "weight_decay": 0.1}, {"momentum": 0.5, "maximize": True}]},
    }),
}

content = {
    "shapes": SHAPES,
    "steps": STEPS,
    "sampled": SAMPLED,
    "seed": SEED,
    "optimizers": {name: {title: case(make, fixed, options) for title, options in cases.items()}
                   for name, (make, fixed, cases) in CASES.items()},
}
path = pathlib.Path(__file__).parent / "trajectories.json"
path.write_text(json.dumps(content, separators=(",", ":")) + "\n")
