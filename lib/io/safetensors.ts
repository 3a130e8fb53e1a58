import type { FileHandle } from 'node:fs/promises';
import { DrivetrainError, inspect } from '../native/index.js';
import { empty, sizeOf, Tensor } from '../tensor/index.js';
import { readInto, withFile, writeAtomically } from './files.js';
import { formatOf, SIGNATURE_BYTES } from './formats.js';
import { printable } from './json-cursor.js';
import {
  corrupt,
  formatHeader,
  layOut,
  MAX_HEADER_BYTES,
  METADATA_KEY,
  parseHeader,
  type SafetensorsHeader,
  type TensorEntry,
} from './safetensors-header.js';
import {
  bytesOf,
  checkBytes,
  checkTensorData,
  firstNonBoolean,
  newArray,
  type TensorData,
} from './tensor-data.js';

/*
 * The safetensors format (github.com/huggingface/safetensors, README, "Format"): 8 bytes, the header's length as a
 * little-endian u64; the header, JSON: {"name": {"dtype", "shape", "data_offsets": [begin, end]}, …} with an optional
 * "__metadata__" of strings; then the data, little-endian and row-major, without holes.
 */

/** A tensor, or plain data of one. */
export type Savable = Tensor | TensorData;

export interface Safetensors<T> {
  /** By name, in the file's order. Has no prototype, so that no name means anything else. */
  readonly tensors: Record<string, T>;
  /** The file's `__metadata__`; empty where it has none. */
  readonly metadata: Record<string, string>;
}

const LENGTH_BYTES = 8;

/**
 * Writes tensors to a safetensors file, whole or not at all: a reader, or a crash, meets the old file or the new
 * one. The same content gives the same bytes. All tensors are copied when this is called, so that what is written
 * belongs to one moment even where training goes on.
 *
 * Throws `DT_INVALID_ARGUMENT` for a name that cannot be stored, `DT_NOT_FOUND` where the directory is missing,
 * `DT_IO` where the system refuses, and what reading the tensors throws (`DT_DISPOSED`, `DT_TENSOR_BUSY`).
 */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, Savable>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  checkNamed('writeSafetensors', tensors);
  const ownMetadata = { ...metadata };
  const named = await Promise.all(
    Object.entries(tensors).map(async ([name, value]): Promise<[string, TensorData]> => {
      if (value instanceof Tensor) return [name, { ...infoOf(value), data: await value.read() }];
      checkSavable(name, value);
      return [name, { ...infoOf(value), data: value.data.slice() }];
    }),
  );
  await writeAtomically(path, encode(new Map(named), ownMetadata));
}

/** The bytes of a safetensors file; see `writeSafetensors`. */
export function serializeSafetensors(
  tensors: Readonly<Record<string, Savable>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  checkNamed('serializeSafetensors', tensors);
  const named = Object.entries(tensors).map(([name, value]): [string, TensorData] => {
    if (value instanceof Tensor) return [name, { ...infoOf(value), data: value.toArray() }];
    checkSavable(name, value);
    return [name, value];
  });
  const parts = encode(new Map(named), metadata);
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/**
 * Reads a safetensors file into new pool tensors, which the caller disposes. Works off the event loop; nothing is
 * allocated before the whole header was checked against the length of the file.
 *
 * Throws `DT_CORRUPT_FILE`, naming file, tensor and reason, for anything unsound; `DT_DTYPE_MISMATCH` and
 * `DT_SHAPE_MISMATCH` for tensors that are sound but of a dtype or rank that drivetrain lacks; `DT_NOT_FOUND`,
 * `DT_IO`, `DT_POOL_LIMIT`.
 */
export async function readSafetensors(path: string): Promise<Safetensors<Tensor>> {
  return withFile(path, async (file, fileBytes) => {
    const { start, entries, metadata } = await readHeader(file, fileBytes, path);
    const tensors: Record<string, Tensor> = Object.create(null);
    try {
      for (const entry of entries) {
        const tensor = empty(entry.shape, entry.dtype);
        tensors[entry.name] = tensor;
        const bytes = bytesOf(tensor.borrow());
        if ((await readInto(file, bytes, start + entry.begin)) < bytes.length) {
          corrupt(path, `it was cut off inside tensor ${printable(entry.name)} while it was read`);
        }
        checkElements(bytes, entry, path);
      }
    } catch (error) {
      for (const tensor of Object.values(tensors)) tensor.dispose();
      throw error;
    }
    return { tensors, metadata };
  });
}

/**
 * Parses the bytes of a safetensors file into plain data, copied into arrays of its own; `wrap(data, shape, { dtype })`
 * makes a tensor of it. `source` names the bytes in errors. Throws as `readSafetensors` does.
 */
export function parseSafetensors(bytes: Uint8Array, source = 'The buffer'): Safetensors<TensorData> {
  checkBytes(bytes);
  const headerBytes = headerLength(bytes, bytes.length, bytes.length, source);
  const start = LENGTH_BYTES + headerBytes;
  const { entries, metadata } = parseHeader(
    bytes.subarray(LENGTH_BYTES, start),
    bytes.length - start,
    source,
  );
  const tensors: Record<string, TensorData> = Object.create(null);
  for (const entry of entries) {
    const { name, dtype, shape, begin, end } = entry;
    const data = newArray(dtype, sizeOf(shape));
    bytesOf(data).set(bytes.subarray(start + begin, start + end));
    checkElements(bytesOf(data), entry, source);
    tensors[name] = { dtype, shape, data };
  }
  return { tensors, metadata };
}

/**
 * Reads and checks the header of an open file; `start` is where the data begins. Of a file that is of another format the
 * error says which.
 */
export async function readHeader(
  file: FileHandle,
  fileBytes: number,
  path: string,
): Promise<SafetensorsHeader & { readonly start: number }> {
  const prefix = new Uint8Array(LENGTH_BYTES);
  const available = await readInto(file, prefix, 0);
  try {
    const headerBytes = headerLength(prefix, available, fileBytes, path);
    const header = new Uint8Array(headerBytes);
    if ((await readInto(file, header, LENGTH_BYTES)) < headerBytes)
      corrupt(path, 'it ends inside the header');
    const start = LENGTH_BYTES + headerBytes;
    return { start, ...parseHeader(header, fileBytes - start, path) };
  } catch (error) {
    const begin = new Uint8Array(SIGNATURE_BYTES);
    const format = formatOf(begin.subarray(0, await readInto(file, begin, 0)));
    if ((error as DrivetrainError).code !== 'DT_CORRUPT_FILE' || format === undefined) throw error;
    corrupt(path, format, error);
  }
}

/** The length in the first 8 of `available` bytes, checked against the length of the file. */
function headerLength(prefix: Uint8Array, available: number, fileBytes: number, source: string): number {
  if (available < LENGTH_BYTES)
    corrupt(source, `it is ${available} bytes long, too short for the header's length`);
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) {
    corrupt(source, `it claims a header of ${length} bytes, above the format's limit of ${MAX_HEADER_BYTES}`);
  }
  if (Number(length) > fileBytes - LENGTH_BYTES) {
    corrupt(source, `it claims a header of ${length} bytes but has ${fileBytes} in all`);
  }
  return Number(length);
}

function checkElements(bytes: Uint8Array, { name, dtype }: TensorEntry, source: string): void {
  const wrong = dtype === 'bool' ? firstNonBoolean(bytes) : -1;
  if (wrong >= 0) {
    corrupt(
      source,
      `bool tensor ${printable(name)} holds ${bytes[wrong]} at element ${wrong}, neither 0 nor 1`,
    );
  }
}

/** The parts of a file, in order. */
function encode(
  tensors: ReadonlyMap<string, TensorData>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array[] {
  for (const [name, data] of tensors) {
    checkStorable(name, 'tensor name');
    if (name === METADATA_KEY) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected tensor names other than ${METADATA_KEY}, which the format reserves; pass metadata apart.`,
      );
    }
    checkSavable(name, data);
  }
  for (const [key, value] of Object.entries(metadata)) {
    checkStorable(key, 'metadata key');
    checkStorable(value, `metadata value of ${printable(key)}`);
  }
  const entries = layOut([...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape })));
  const header = formatHeader(entries, metadata);
  const length = new Uint8Array(LENGTH_BYTES);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  return [length, header, ...entries.map(({ name }) => bytesOf(tensors.get(name)!.data))];
}

function infoOf({ dtype, shape }: Savable): Omit<TensorData, 'data'> {
  return { dtype, shape: [...shape] };
}

/** Refuses a whole model, whose fields would be taken for tensors, and a Map, which has no fields. */
function checkNamed(operation: string, tensors: unknown): void {
  const refuse = (received: string) => {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected tensors by name for ${operation}, as stateDict() gives them, but received ${received}.`,
    );
  };
  if (typeof tensors !== 'object' || tensors === null) refuse(inspect(tensors));
  if (tensors instanceof Map) refuse('a Map; Object.fromEntries(map) is what is wanted');
  if (Symbol.iterator in (tensors as object)) refuse('a list');
  const { stateDict } = tensors as { stateDict?: unknown };
  if (typeof stateDict === 'function') refuse('a model or the like; pass its stateDict()');
}

function checkSavable(name: string, value: TensorData): void {
  if (typeof value !== 'object' || value === null) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a Tensor or { dtype, shape, data } for tensor ${printable(name)} but received ${value}.`,
    );
  }
  checkTensorData(value, `tensor ${printable(name)}`);
}

function checkStorable(text: unknown, what: string): void {
  if (typeof text !== 'string') {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a string for ${what} but received ${typeof text}.`,
    );
  }
  if (/\p{Surrogate}/u.test(text)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected valid Unicode for ${what} but received ${printable(text)}, which UTF-8 cannot hold.`,
    );
  }
}
