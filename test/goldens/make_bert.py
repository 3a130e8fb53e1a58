"""Makes the goldens of test/models with the encoder of PyTorch 1.13.

    apt-get install -y python3-torch
    /usr/bin/python3 test/goldens/make_bert.py

A small BERT in double, with all weights and the gradients of a loss; and two in f32 of the shapes of MiniLM-L6 and
BERT-base, whose weights both sides make from their place by the same formula, so that only some results are kept here.
"""

import json
import pathlib

import numpy
import torch
from torch import nn

HERE = pathlib.Path(__file__).parent / "models"
torch.set_num_threads(2)


class Bert(nn.Module):
    """By PyTorch's own encoder; the names of tensors are those of Hugging Face once `hugging_face` has renamed them."""

    def __init__(self, vocab, positions, hidden, layers, heads, intermediate, classes):
        super().__init__()
        self.words = nn.Embedding(vocab, hidden)
        self.positions = nn.Embedding(positions, hidden)
        self.types = nn.Embedding(2, hidden)
        self.norm = nn.LayerNorm(hidden, eps=1e-12)
        layer = nn.TransformerEncoderLayer(
            hidden, heads, intermediate, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.pooler = nn.Linear(hidden, hidden)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, ids, mask, types):
        places = torch.arange(ids.shape[1])
        x = self.norm(self.words(ids) + self.types(types) + self.positions(places))
        return self.encoder(x, src_key_padding_mask=~mask)

    def classify(self, hidden):
        return self.classifier(torch.tanh(self.pooler(hidden[:, 0])))


FIXED = {
    "words.": "bert.embeddings.word_embeddings.",
    "positions.": "bert.embeddings.position_embeddings.",
    "types.": "bert.embeddings.token_type_embeddings.",
    "norm.": "bert.embeddings.LayerNorm.",
    "pooler.": "bert.pooler.dense.",
    "classifier.": "classifier.",
}
LAYER = {
    "self_attn.out_proj.": "attention.output.dense.",
    "norm1.": "attention.output.LayerNorm.",
    "linear1.": "intermediate.dense.",
    "linear2.": "output.dense.",
    "norm2.": "output.LayerNorm.",
}


def hugging_face(named):
    """{ name in Hugging Face's files: tensor }."""
    out = {}
    for name, tensor in named:
        for ours, theirs in FIXED.items():
            if name.startswith(ours):
                out[theirs + name[len(ours):]] = tensor
        if not name.startswith("encoder.layers."):
            continue
        i, rest = name[len("encoder.layers."):].split(".", 1)
        prefix = f"bert.encoder.layer.{i}."
        if rest.startswith("self_attn.in_proj_"):
            kind = rest[len("self_attn.in_proj_"):]
            for part, which in zip(tensor.chunk(3), ["query", "key", "value"]):
                out[f"{prefix}attention.self.{which}.{kind}"] = part
        for ours, theirs in LAYER.items():
            if rest.startswith(ours):
                out[prefix + theirs + rest[len(ours):]] = tensor
    return out


def pack(tensor):
    return {"shape": list(tensor.shape), "data": tensor.detach().reshape(-1).tolist()}


def mixed(count, seed):
    """`count` numbers in [-1, 1): a mix of the bits of their place, as in test/models/support.ts."""
    x = numpy.arange(count, dtype=numpy.uint32) * numpy.uint32(2) + numpy.uint32(seed)
    for shift, factor in [(16, 0x85EBCA6B), (13, 0xC2B2AE35)]:
        x ^= x >> numpy.uint32(shift)
        x *= numpy.uint32(factor)
    x ^= x >> numpy.uint32(16)
    return (x >> numpy.uint32(8)).astype(numpy.float32) / numpy.float32(2**23) - numpy.float32(1)


def small():
    torch.manual_seed(20261126)
    torch.set_default_dtype(torch.float64)
    model = Bert(vocab=20, positions=8, hidden=8, layers=2, heads=2, intermediate=12, classes=3)
    for parameter in model.parameters():
        # So that biases and normalisations count as well; exact in f32.
        parameter.data = (parameter.data + 0.3 * torch.randn_like(parameter)).float().double()
    ids = torch.tensor([[2, 7, 5, 19, 3, 0], [2, 11, 3, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]]).bool()
    types = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]])
    labels = torch.tensor([2, 0])
    hidden = model(ids, mask, types)
    logits = model.classify(hidden)
    loss = nn.functional.cross_entropy(logits, labels)
    loss.backward()
    torch.set_default_dtype(torch.float32)
    # Of a position that was filled up nothing is promised.
    return {
        "ids": pack(ids),
        "mask": pack(mask.long()),
        "types": pack(types),
        "labels": pack(labels),
        "weights": {name: pack(t) for name, t in hugging_face(model.named_parameters()).items()},
        "hidden": pack(hidden * mask[:, :, None]),
        "logits": pack(logits),
        "loss": loss.item(),
        "gradients": {
            name: pack(t) for name, t in hugging_face((n, p.grad) for n, p in model.named_parameters()).items()
        },
    }


def large(batch, length, **shape):
    model = Bert(positions=512, vocab=30522, classes=2, **shape)
    named = hugging_face(model.named_parameters())
    for seed, name in enumerate(sorted(named)):
        tensor = named[name]
        value = torch.from_numpy(mixed(tensor.numel(), seed)).reshape(tensor.shape)
        scale = 0.05 if tensor.dim() == 2 else 0.1
        tensor.data.copy_(value * scale + (1 if name.endswith("LayerNorm.weight") else 0))
    ids = torch.from_numpy(((mixed(batch * length, 999) + 1) * 15261).astype(numpy.int64)).reshape(batch, length)
    lengths = torch.tensor([length, length - length // 3][:batch])
    mask = torch.arange(length)[None, :] < lengths[:, None]
    with torch.no_grad():
        model.train()  # evaluation mode takes another way through fused kernels
        hidden = model(ids, mask, torch.zeros_like(ids))
        logits = model.classify(hidden)
    rows = [0, 1, length // 2, length - length // 3 - 1]
    return {
        "batch": batch,
        "length": length,
        "lengths": lengths.tolist(),
        **shape,
        "rows": rows,
        "hidden": pack(hidden[:, rows, :: shape["hidden"] // 16]),
        "largest": hidden.abs().max().item(),
        "logits": pack(logits),
    }


def write(name, value):
    (HERE / name).write_text(json.dumps(value) + "\n")


write("bert.json", small())
write(
    "bert-large-shapes.json",
    {
        "MiniLM-L6": large(2, 128, hidden=384, layers=6, heads=12, intermediate=1536),
        "BERT-base": large(1, 48, hidden=768, layers=12, heads=12, intermediate=3072),
    },
)
