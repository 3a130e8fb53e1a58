import { DrivetrainError } from '../native/index.js';
import { asFileError } from './files.js';
import { checkCount } from './sampler.js';

/** Makes records of text that comes in pieces. */
export interface TextDecoding<R> {
  /** The line that is read next, from 1. */
  readonly line: number;
  push(text: string): Iterable<R>;
  /** Call it after the last piece. */
  end(): Iterable<R>;
}

/** The records of a UTF-8 file, with or without a byte order mark, read piece by piece. */
export async function* readRecords<R>(
  path: string,
  decoding: TextDecoding<R>,
): AsyncGenerator<R, void, undefined> {
  const { createReadStream } = process.getBuiltinModule('node:fs');
  const text = new TextDecoder('utf-8', { fatal: true });
  const decode = (bytes?: Uint8Array) => {
    try {
      return bytes === undefined ? text.decode() : text.decode(bytes, { stream: true });
    } catch (error) {
      throw corruptText(path, decoding.line, 'here or below it is not UTF-8', error);
    }
  };
  try {
    for await (const bytes of createReadStream(path)) yield* decoding.push(decode(bytes as Uint8Array));
    yield* decoding.push(decode());
    yield* decoding.end();
  } catch (error) {
    throw asFileError(error, 'read', path);
  }
}

/** Longer records, in characters, are refused unless told otherwise: an open quote would take in the rest of a file. */
const MAX_RECORD_LENGTH = 2 ** 24;

export function checkRecordLength(length: number = MAX_RECORD_LENGTH): number {
  checkCount('maxRecordLength', length, 1);
  return length;
}

export function corruptText(name: string, line: number, reason: string, cause?: unknown): DrivetrainError {
  return new DrivetrainError('DT_CORRUPT_FILE', `${name}, line ${line}: ${reason}.`, { cause });
}
