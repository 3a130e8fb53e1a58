"""Makes the goldens of test/compress with PyTorch 1.13.

    apt-get install -y python3-torch
    /usr/bin/python3 test/goldens/make_compression.py

Fake quantization runs in f32, as there is no other in PyTorch; distillation in double, from inputs that are exact in f32.
"""

import json
import pathlib

import torch
import torch.nn.utils.prune as prune
from torch.ao.quantization import MinMaxObserver, MovingAverageMinMaxObserver

HERE = pathlib.Path(__file__).parent
torch.manual_seed(20240607)
torch.set_num_threads(1)


def plain(tensor):
    return tensor.detach().reshape(-1).tolist()


def pack(tensor):
    return {"shape": list(tensor.shape), "data": plain(tensor)}


def apart_from_ties(x, scale):
    """PyTorch multiplies by 1 / scale where we divide: only within an ulp of a tie do they differ. Moves such values away."""
    steps = x / scale
    near = ((steps - steps.floor()) - 0.5).abs() < 1e-3
    return torch.where(near, x + 0.01 * scale, x)


def fake_quantize():
    cases = []
    # A power of two has exact quotients: ties, both sides of every bound, and far beyond (not where int64 overflows).
    ties = torch.arange(-300, 301).float() * 2.0**-6
    wide = torch.tensor([1e6, -1e6, 1e9, -1e9, 1e-30, -1e-30, 0.0])
    for x, scale, zero, low, high in [
        (torch.cat([ties, wide]), 2.0**-5, 0, 0, 255),
        (torch.cat([ties, wide]), 2.0**-5, 128, 0, 255),
        (torch.cat([ties, wide]), 2.0**-5, 3, -128, 127),
        (torch.randn(400) * 4, 0.0371, 117, 0, 255),
        (torch.randn(400) * 4, 0.0123, 0, -127, 127),
    ]:
        x = apart_from_ties(x, scale) if scale != 2.0**-5 else x
        x = x.clone().requires_grad_()
        y = torch.fake_quantize_per_tensor_affine(x, scale, zero, low, high)
        dy = torch.randn_like(y)
        y.backward(dy)
        case = {"scale": torch.tensor(scale).item(), "zeroPoint": zero, "min": low, "max": high}
        cases.append({**case, "x": pack(x), "y": pack(y), "dy": pack(dy), "dx": pack(x.grad)})
    # By row: the weight of a layer.
    w = torch.randn(7, 33)
    scale = w.abs().amax(1) / 127
    w = apart_from_ties(w, scale[:, None]).clamp(-127 * scale[:, None], 127 * scale[:, None]).requires_grad_()
    y = torch.fake_quantize_per_channel_affine(w, scale, torch.zeros(7, dtype=torch.int32), 0, -127, 127)
    dy = torch.randn_like(y)
    y.backward(dy)
    rows = {"x": pack(w), "scale": pack(scale), "y": pack(y), "dy": pack(dy), "dx": pack(w.grad)}
    return {"tensors": cases, "rows": rows}


def observers():
    """Scale and zero point of ranges, and the moving average over batches."""
    ranges = []
    for low, high in [(-1.5, 2.25), (0.0, 3.0), (0.5, 3.0), (-4.0, -1.0), (-0.001, 100.0), (0.0, 0.0)]:
        observer = MinMaxObserver(dtype=torch.quint8)
        observer(torch.tensor([low, high]))
        scale, zero = observer.calculate_qparams()
        ranges.append({"low": low, "high": high, "scale": scale.item(), "zeroPoint": zero.item()})
    moving = MovingAverageMinMaxObserver(averaging_constant=0.1)
    batches = []
    for i in range(6):
        x = torch.randn(5, 4) * (1 + i)
        moving(x)
        batches.append({"x": pack(x), "low": moving.min_val.item(), "high": moving.max_val.item()})
    return {"ranges": ranges, "moving": batches}


def pruning():
    layers = [torch.nn.Linear(9, 7), torch.nn.Linear(7, 5)]
    weights = [pack(layer.weight) for layer in layers]
    structured = torch.nn.Linear(9, 7)
    structured.weight.data = layers[0].weight.data.clone()
    prune.ln_structured(structured, "weight", amount=3, n=2, dim=0)
    each = []
    for layer in layers:
        copy = torch.nn.Linear(layer.in_features, layer.out_features)
        copy.weight.data = layer.weight.data.clone()
        prune.l1_unstructured(copy, "weight", amount=0.32)
        each.append(plain(copy.weight_mask))
    prune.global_unstructured([(layer, "weight") for layer in layers], prune.L1Unstructured, amount=0.4)
    return {
        "weights": weights,
        "layer": {"amount": 0.32, "masks": each},
        "global": {"amount": 0.4, "masks": [plain(layer.weight_mask) for layer in layers]},
        "rows": {"amount": 3, "kept": structured.weight_mask.amax(1).nonzero().reshape(-1).tolist()},
    }


def distillation():
    cases = []
    for temperature, alpha in [(1.0, 0.5), (4.0, 0.9), (2.5, 0.0), (2.5, 1.0)]:
        student = (torch.randn(6, 5) * 2).float().double().requires_grad_()
        teacher = (torch.randn(6, 5) * 3).float().double()
        labels = torch.tensor([0, 4, 2, 2, 1, 3])
        kl = torch.nn.functional.kl_div(
            torch.log_softmax(student / temperature, 1),
            torch.softmax(teacher / temperature, 1),
            reduction="batchmean",
        )
        hard = torch.nn.functional.cross_entropy(student, labels)
        loss = alpha * temperature**2 * kl + (1 - alpha) * hard
        loss.backward()
        case = {"temperature": temperature, "alpha": alpha, "labels": labels.tolist(), "loss": loss.item()}
        cases.append({**case, "student": pack(student), "teacher": pack(teacher), "gradient": pack(student.grad)})
    return cases


def main():
    content = {
        "fakeQuantize": fake_quantize(),
        "observers": observers(),
        "pruning": pruning(),
        "distillation": distillation(),
    }
    folder = HERE / "compress"
    folder.mkdir(exist_ok=True)
    (folder / "pytorch.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
