import { DrivetrainError, type TypedArray } from '../native/index.js';
import { type DType, formatShape, MAX_RANK, type Shape } from '../tensor/index.js';
import { bytesOf } from './tensor-data.js';

interface ElementType {
  readonly name: string;
  readonly bytes: number;
  readonly dtype: DType;
}

const TYPES: Readonly<Record<number, ElementType>> = {
  8: { name: 'u8', bytes: 1, dtype: 'u8' },
  9: { name: 'i8', bytes: 1, dtype: 'i8' },
  11: { name: 'i16', bytes: 2, dtype: 'i32' },
  12: { name: 'i32', bytes: 4, dtype: 'i32' },
  13: { name: 'f32', bytes: 4, dtype: 'f32' },
  14: { name: 'f64', bytes: 8, dtype: 'f64' },
};

/** The longest header: the magic number and MAX_RANK dimensions of 4 bytes each. */
const HEADER_BYTES = 4 + 4 * MAX_RANK;

export interface IdxSource {
  /** What errors call it. */
  readonly name: string;
  /** More bytes than this cannot follow, whatever the header claims. */
  readonly mostBytes: number;
  /** More bytes than this are refused. */
  readonly maxBytes: number;
}

/** A place for the elements, which the decoder fills. */
type Allocate = (shape: Shape, dtype: DType) => TypedArray;

/**
 * Decodes an IDX file that comes in pieces (Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten
 * digits", section "File formats"): two zero bytes, one byte for the type, one for the number of dimensions, each
 * dimension as a big-endian u32, then the elements, big-endian and row-major. Nothing is allocated before the header
 * was checked; everything unsound is `DT_CORRUPT_FILE`, more than 8 dimensions `DT_SHAPE_MISMATCH`.
 */
export class IdxDecoder {
  readonly #source: IdxSource;
  readonly #allocate: Allocate;
  readonly #header = new Uint8Array(HEADER_BYTES);
  #headerBytes = 0;
  #type: ElementType | undefined;
  /** Where the elements as they come are kept: at the end of their place, since i16 widens to i32 from the front. */
  #raw: Uint8Array = new Uint8Array();
  #filled = 0;

  constructor(source: IdxSource, allocate: Allocate) {
    this.#source = source;
    this.#allocate = allocate;
  }

  push(chunk: Uint8Array): void {
    let at = 0;
    while (this.#type === undefined && at < chunk.length) {
      this.#header[this.#headerBytes++] = chunk[at++]!;
      this.#parseHeader();
    }
    const rest = chunk.subarray(at);
    if (rest.length > this.#raw.length - this.#filled) {
      this.#corrupt(`more than the ${this.#raw.length} bytes of its shape follow the header`);
    }
    this.#raw.set(rest, this.#filled);
    this.#filled += rest.length;
  }

  /** Call it after the last piece. */
  end(): void {
    if (this.#type === undefined)
      this.#corrupt(`it ends after ${this.#headerBytes} bytes, inside its header`);
    if (this.#filled < this.#raw.length) {
      this.#corrupt(`its shape takes ${this.#raw.length} bytes but ${this.#filled} follow the header`);
    }
    toLittleEndian(this.#raw, this.#type!);
  }

  /** Called after each byte of the header, with no effect until there is something to see. */
  #parseHeader(): void {
    const header = this.#header;
    const bytes = this.#headerBytes;
    if (header[0] !== 0 || header[1] !== 0) this.#corrupt('it does not begin with two zero bytes');
    if (bytes < 4) return;
    const code = header[2]!;
    const type = TYPES[code] ?? this.#corrupt(`its type 0x${code.toString(16)} is none of the format's`);
    const rank = header[3]!;
    if (rank === 0) this.#corrupt('it has no dimensions');
    if (rank > MAX_RANK) {
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected at most ${MAX_RANK} dimensions but ${this.#source.name} has ${rank}.`,
      );
    }
    if (bytes < 4 + 4 * rank) return;
    const view = new DataView(header.buffer);
    this.#begin(
      type,
      Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i)),
    );
  }

  #begin(type: ElementType, shape: number[]): void {
    const { mostBytes, maxBytes } = this.#source;
    const elements = shape.reduce((product, dimension) => product * dimension, 1);
    const needed = this.#headerBytes + elements * type.bytes;
    const what = `${type.name} of shape ${formatShape(shape)} takes ${needed} bytes with its header`;
    if (needed > mostBytes) this.#corrupt(`${what} but there are at most ${mostBytes}`);
    if (needed > maxBytes) {
      this.#corrupt(`${what}, more than the ${maxBytes} that are allowed; raise maxBytes if you trust it`);
    }
    const place = bytesOf(this.#allocate(shape, type.dtype));
    this.#raw = place.subarray(place.length - elements * type.bytes);
    this.#type = type;
  }

  #corrupt(reason: string): never {
    throw corruptIdx(this.#source.name, reason);
  }
}

export function corruptIdx(name: string, reason: string, cause?: unknown): DrivetrainError {
  return new DrivetrainError('DT_CORRUPT_FILE', `${name} is not a sound IDX file: ${reason}.`, { cause });
}

/** In place, to the byte order of every machine that drivetrain runs on. */
function toLittleEndian(raw: Uint8Array, { name, bytes }: ElementType): void {
  const buffer = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
  if (bytes === 4) buffer.swap32();
  if (bytes === 8) buffer.swap64();
  if (name === 'i16') {
    const view = new DataView(raw.buffer, raw.byteOffset - raw.byteLength, 2 * raw.byteLength);
    for (let i = 0; i < raw.length / 2; i++) view.setInt32(4 * i, view.getInt16(raw.length + 2 * i), true);
  }
}
