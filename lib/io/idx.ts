import type { FileHandle } from 'node:fs/promises';
import { DrivetrainError } from '../native/index.js';
import { checkOptions, empty, sizeOf, type Tensor } from '../tensor/index.js';
import { readInto, withFile } from './files.js';
import { corruptIdx, IdxDecoder, type IdxSource } from './idx-decoder.js';
import { checkBytes, newArray, type TensorData } from './tensor-data.js';

export interface IdxOptions {
  /** A file that holds more, unpacked, is refused; 1 GiB unless given. MNIST's largest holds 47 MB. */
  maxBytes?: number;
}

const DEFAULT_MAX_BYTES = 2 ** 30;

/** DEFLATE makes at most 258 bytes of 2 bits, so no file unpacks to more than this many times its length. */
const MAX_INFLATION = 1032;

const CHUNK_BYTES = 1024 * 1024;

/**
 * Reads an IDX file (MNIST's format), gzipped or plain, into a new pool tensor, which the caller disposes: u8, i8,
 * i32, f32 and f64 as they are, i16 as i32. Throws `DT_CORRUPT_FILE`, naming the file and the reason, also above
 * `maxBytes`; `DT_SHAPE_MISMATCH` above 8 dimensions; `DT_NOT_FOUND`, `DT_IO`, `DT_POOL_LIMIT`.
 */
export async function readIdx(path: string, options: IdxOptions = {}): Promise<Tensor> {
  checkOptions('readIdx', options, ['maxBytes']);
  const maxBytes = checkLimit(options.maxBytes);
  return withFile(path, async (file, fileBytes) => {
    const gzipped = await beginsLikeGzip(file);
    const mostBytes = gzipped ? fileBytes * MAX_INFLATION : fileBytes;
    let made: Tensor | undefined;
    const decoder = new IdxDecoder({ name: path, mostBytes, maxBytes }, (shape, dtype) => {
      made = empty(shape, dtype);
      return made.borrow();
    });
    try {
      await feed(file, gzipped, decoder);
    } catch (error) {
      made?.dispose();
      throw asCorrupt(error, path);
    }
    return made!;
  });
}

/** Parses the bytes of an IDX file, gzipped or plain, into plain data of its own. Throws as `readIdx` does. */
export function parseIdx(bytes: Uint8Array, name = 'The buffer', options: IdxOptions = {}): TensorData {
  checkOptions('parseIdx', options, ['maxBytes']);
  const maxBytes = checkLimit(options.maxBytes);
  checkBytes(bytes);
  const plain = isGzip(bytes) ? unpack(bytes, name, maxBytes) : bytes;
  const source: IdxSource = { name, mostBytes: plain.length, maxBytes };
  let made: TensorData | undefined;
  const decoder = new IdxDecoder(source, (shape, dtype) => {
    made = { dtype, shape, data: newArray(dtype, sizeOf(shape)) };
    return made.data;
  });
  decoder.push(plain);
  decoder.end();
  return made!;
}

async function feed(file: FileHandle, gzipped: boolean, decoder: IdxDecoder): Promise<void> {
  const { pipeline } = process.getBuiltinModule('node:stream/promises');
  const { createGunzip } = process.getBuiltinModule('node:zlib');
  const stream = file.createReadStream({ start: 0, autoClose: false, highWaterMark: CHUNK_BYTES });
  // Kept apart, since a pipeline may report the abort that a failure of the last stage causes in the others.
  let failure: unknown;
  const decode = async (chunks: AsyncIterable<Uint8Array>) => {
    try {
      for await (const chunk of chunks) decoder.push(chunk);
      decoder.end();
    } catch (error) {
      failure = error;
      throw error;
    }
  };
  const running = gzipped
    ? pipeline(stream, createGunzip({ chunkSize: CHUNK_BYTES }), decode)
    : pipeline(stream, decode);
  await running.catch((error) => {
    throw failure ?? error;
  });
}

function unpack(bytes: Uint8Array, name: string, maxBytes: number): Uint8Array {
  const { gunzipSync } = process.getBuiltinModule('node:zlib');
  try {
    return gunzipSync(bytes, { maxOutputLength: maxBytes });
  } catch (error) {
    throw asCorrupt(error, name);
  }
}

/** What zlib said of its input, in the one error class; other errors as they are. */
function asCorrupt(error: unknown, name: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ERR_BUFFER_TOO_LARGE') {
    return corruptIdx(name, 'it unpacks to more than maxBytes; raise it if you trust the file', error);
  }
  return code?.startsWith('Z_') ? corruptIdx(name, `it cannot be unpacked (${message})`, error) : error;
}

async function beginsLikeGzip(file: FileHandle): Promise<boolean> {
  const magic = new Uint8Array(2);
  await readInto(file, magic, 0);
  return isGzip(magic);
}

function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

function checkLimit(maxBytes: number = DEFAULT_MAX_BYTES): number {
  if (!Number.isSafeInteger(maxBytes) || maxBytes < 1 || maxBytes > 2 ** 32) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected maxBytes to be a whole number from 1 to 2^32 but received ${maxBytes}.`,
    );
  }
  return maxBytes;
}
