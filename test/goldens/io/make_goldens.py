"""Makes the files of this folder with Python's struct and json alone, so that they owe nothing to lib/io.

    python3 test/goldens/io/make_goldens.py

canonical.safetensors  laid out as the reference implementation does (huggingface/safetensors,
                       safetensors/src/tensor.rs, `prepare`): by falling alignment of the dtype, then by name;
                       compact JSON, padded with spaces to 8 bytes. What drivetrain writes must equal it.
foreign.safetensors    the same tensors as another writer might lay them out: by name, JSON with white space and
                       escapes, keys of the entries in another order, data that is not aligned, metadata last.
i16.idx, f64.idx       IDX files of two shapes and types.
"""

import json
import pathlib
import struct

here = pathlib.Path(__file__).parent


def bfloat16(value):
    """The upper half of a float32; the values here need no rounding."""
    return struct.pack('<f', value)[2:]


# name: (dtype, shape, little-endian bytes)
TENSORS = {
    'f32': ('F32', [2, 3], struct.pack('<6f', 0.0, -0.0, 1.5, float('inf'), float('-inf'), 3.4028234663852886e38)),
    'f64': ('F64', [2], struct.pack('<2d', 5e-324, 1 / 3)),
    'i64': ('I64', [2], struct.pack('<2q', -(2**63), 2**63 - 1)),
    'i32': ('I32', [3], struct.pack('<3i', -(2**31), 0, 2**31 - 1)),
    'i8': ('I8', [3], struct.pack('<3b', -128, 0, 127)),
    'u8': ('U8', [1, 1, 3], bytes([0, 1, 255])),
    'bool': ('BOOL', [3], bytes([0, 1, 1])),
    'f16': ('F16', [3], struct.pack('<3e', 1.0, -2.0, 65504.0)),
    'bf16': ('BF16', [3], bfloat16(1.0) + bfloat16(-2.0) + bfloat16(3.0)),
    'scalar': ('F32', [], struct.pack('<f', 42.0)),
    'empty': ('F32', [2, 0, 3], b''),
    'größe/\U0001f600\n': ('F32', [1], struct.pack('<f', 7.0)),
    '\uffee': ('F32', [1], struct.pack('<f', 8.0)),
}
METADATA = {'format': 'pt', 'note': 'line one\nline "two" é'}

ALIGNMENT_ORDER = ['I64', 'F64', 'F32', 'I32', 'BF16', 'F16', 'I8', 'U8', 'BOOL']


def pack(header, data):
    encoded = header.encode('utf-8')
    return struct.pack('<Q', len(encoded)) + encoded + data


def entries(names):
    data, found = b'', {}
    for name in names:
        dtype, shape, content = TENSORS[name]
        found[name] = {'dtype': dtype, 'shape': shape, 'data_offsets': [len(data), len(data) + len(content)]}
        data += content
    return found, data


def canonical():
    order = sorted(TENSORS, key=lambda name: (ALIGNMENT_ORDER.index(TENSORS[name][0]), name.encode('utf-8')))
    found, data = entries(order)
    metadata = dict(sorted(METADATA.items()))
    header = json.dumps({'__metadata__': metadata, **found}, ensure_ascii=False, separators=(',', ':'))
    padding = -len(header.encode('utf-8')) % 8
    return pack(header + ' ' * padding, data)


def foreign():
    found, data = entries(sorted(TENSORS))
    turned = {name: dict(reversed(list(info.items()))) for name, info in reversed(list(found.items()))}
    return pack(json.dumps({**turned, '__metadata__': METADATA}, indent='\t') + '\r\n', data)


(here / 'canonical.safetensors').write_bytes(canonical())
(here / 'foreign.safetensors').write_bytes(foreign())
(here / 'i16.idx').write_bytes(struct.pack('>4B2I6h', 0, 0, 0x0B, 2, 2, 3, -32768, -1, 0, 1, 258, 32767))
(here / 'f64.idx').write_bytes(struct.pack('>4B1I3d', 0, 0, 0x0E, 1, 3, -0.0, 1 / 3, 5e-324))
