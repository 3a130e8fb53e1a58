"""Makes optim/schedules.json with PyTorch 1.13: the learning rate (and momentum) of each group before the first step
and after each.

    apt-get install -y python3-torch
    /usr/bin/python3 test/goldens/make_schedules.py
"""

import json
import math
import pathlib

import torch
from torch.optim import lr_scheduler as lrs

HERE = pathlib.Path(__file__).parent


def sgd(rates):
    parameters = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(parameters, lr=1, momentum=0.9)


def adam(rates):
    parameters = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.Adam(parameters, lr=1)


def case(make, rates, steps, kind="SGD", metrics=None):
    optimizer = (adam if kind == "Adam" else sgd)(rates)
    schedule = make(optimizer)
    seen, momenta = [], []

    def note():
        seen.append([group["lr"] for group in optimizer.param_groups])
        first = optimizer.param_groups[0]
        momenta.append(first["betas"][0] if kind == "Adam" else first["momentum"])

    note()
    for i in range(steps):
        optimizer.step()
        schedule.step(*([metrics[i]] if metrics else []))
        note()
    result = {"optimizer": kind, "lr": rates, "rates": seen, "momentum": momenta}
    return {**result, "metrics": metrics} if metrics else result


def warmup_cosine(total, warm, floor):
    """The rule that WarmupCosineLR documents."""
    def factor(step):
        if step < warm:
            return (step + 1) / warm
        progress = min(1, (step - warm) / (total - warm))
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
    return lambda o: lrs.LambdaLR(o, factor)


def inverse_square_root(warm):
    """The rule that InverseSquareRootLR documents."""
    return lambda o: lrs.LambdaLR(o, lambda t: min((t + 1) / warm, math.sqrt(warm / (t + 1))))


two = [0.1, 0.003]
falling = [3, 2, 1.5, 1.5, 1.5, 1.49999, 1.6, 1.2, 1.2, 1.2, 1.2, 1.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]

cases = {
    "ConstantLR": case(lambda o: lrs.ConstantLR(o), two, 8),
    "ConstantLR, options": case(lambda o: lrs.ConstantLR(o, factor=0.5, total_iters=3), two, 6),
    "LinearLR": case(lambda o: lrs.LinearLR(o), two, 8),
    "LinearLR, options": case(lambda o: lrs.LinearLR(o, start_factor=0.9, end_factor=0.2, total_iters=7), two, 10),
    "PolynomialLR": case(lambda o: lrs.PolynomialLR(o), two, 8),
    "PolynomialLR, options": case(lambda o: lrs.PolynomialLR(o, total_iters=9, power=2.5), two, 12),
    "ExponentialLR": case(lambda o: lrs.ExponentialLR(o, gamma=0.9), two, 20),
    "StepLR": case(lambda o: lrs.StepLR(o, step_size=3), two, 10),
    "StepLR, options": case(lambda o: lrs.StepLR(o, step_size=4, gamma=0.7), two, 17),
    "MultiStepLR": case(lambda o: lrs.MultiStepLR(o, milestones=[2, 5, 9]), two, 12),
    "MultiStepLR, options": case(lambda o: lrs.MultiStepLR(o, milestones=[1, 4], gamma=0.5), two, 7),
    "CosineAnnealingLR": case(lambda o: lrs.CosineAnnealingLR(o, 10), two, 25),
    "CosineAnnealingLR, options": case(lambda o: lrs.CosineAnnealingLR(o, 7, eta_min=0.01), [0.1], 16),
    "CosineAnnealingWarmRestarts": case(lambda o: lrs.CosineAnnealingWarmRestarts(o, 5), two, 17),
    "CosineAnnealingWarmRestarts, options":
        case(lambda o: lrs.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=1e-4), two, 40),
    "CyclicLR": case(lambda o: lrs.CyclicLR(o, 0.001, 0.1, step_size_up=4), [0.5], 20),
    "CyclicLR, triangular2": case(
        lambda o: lrs.CyclicLR(o, [0.001, 0.01], [0.1, 0.05], step_size_up=3, step_size_down=5, mode="triangular2",
                               base_momentum=0.6, max_momentum=0.95), two, 30),
    "CyclicLR, expRange": case(
        lambda o: lrs.CyclicLR(o, 0.001, 0.1, step_size_up=4, mode="exp_range", gamma=0.97, cycle_momentum=False),
        two, 25),
    "OneCycleLR": case(lambda o: lrs.OneCycleLR(o, 0.1, total_steps=20), [0.5], 19),
    "OneCycleLR, Adam": case(
        lambda o: lrs.OneCycleLR(o, [0.1, 0.2], total_steps=13, pct_start=0.4, anneal_strategy="linear", div_factor=10,
                                 final_div_factor=50, base_momentum=0.7, max_momentum=0.9), two, 12, kind="Adam"),
    "OneCycleLR, three phases": case(
        lambda o: lrs.OneCycleLR(o, 0.1, total_steps=30, three_phase=True, pct_start=0.25), [0.5], 29),
    "ReduceLROnPlateau": case(lambda o: lrs.ReduceLROnPlateau(o, patience=1), two, 20, metrics=falling),
    "ReduceLROnPlateau, options": case(
        lambda o: lrs.ReduceLROnPlateau(o, mode="max", factor=0.5, patience=2, threshold=0.1, threshold_mode="abs",
                                        cooldown=2, min_lr=[0.01, 0.0001]), two, 20,
        metrics=[-x for x in falling]),
    "SequentialLR": case(
        lambda o: lrs.SequentialLR(o, [lrs.LinearLR(o, start_factor=0.1, total_iters=4),
                                       lrs.CosineAnnealingLR(o, 10), lrs.ConstantLR(o, factor=0.25, total_iters=99)],
                                   milestones=[4, 12]), two, 18),
    "ChainedScheduler": case(
        lambda o: lrs.ChainedScheduler([lrs.ConstantLR(o, factor=0.1, total_iters=2), lrs.ExponentialLR(o, gamma=0.9),
                                        lrs.StepLR(o, 5)]), two, 15),
    "LambdaLR": case(lambda o: lrs.LambdaLR(o, [lambda t: 0.95 ** t, lambda t: 1 / (1 + t)]), two, 10),
    "WarmupCosineLR": case(warmup_cosine(15, 4, 0.1), [0.2, 0.01], 20),
    "WarmupCosineLR, defaults": case(warmup_cosine(50, 3, 0.01), two, 55),
    "InverseSquareRootLR": case(inverse_square_root(6), two, 30),
}

(HERE / "optim/schedules.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")
