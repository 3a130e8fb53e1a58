import { readFile } from 'node:fs/promises';
import { DrivetrainError } from '../native/index.js';
import { asFileError, writeAtomically } from './files.js';

/** The object, or the array, in a JSON file. `DT_CORRUPT_FILE` where there is none, `DT_NOT_FOUND`, `DT_IO`. */
export async function readJson(path: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw asFileError(error, 'read', path);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw corrupt(path, (error as Error).message, error);
  }
  if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  throw corrupt(path, 'it is no object');
}

/** Writes a JSON file, whole or not at all. */
export async function writeJson(path: string, value: object): Promise<void> {
  await writeAtomically(path, [new TextEncoder().encode(`${JSON.stringify(value, undefined, 2)}\n`)]);
}

function corrupt(path: string, reason: string, cause?: unknown): DrivetrainError {
  return new DrivetrainError('DT_CORRUPT_FILE', `${path} is no sound JSON: ${reason}.`, { cause });
}
