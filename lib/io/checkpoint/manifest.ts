import { readFile } from 'node:fs/promises';
import { DrivetrainError } from '../../native/index.js';
import { asFileError } from '../files.js';

/** JSON that a checkpoint keeps beside its tensors. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** What a checkpoint says of itself. */
export interface CheckpointInfo {
  readonly id: string;
  /** When it was saved: ISO 8601, UTC. */
  readonly time: string;
  readonly step: number;
  /** NaN also for what was infinite: JSON has neither. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly config: Json;
}

/** The content of `checkpoint.json`. */
export interface Manifest extends CheckpointInfo {
  readonly format: typeof FORMAT;
  /** Of each part, what is not a tensor. */
  readonly state: Readonly<Record<string, Json>>;
  /** Tensors by part, each a safetensors file. */
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

export const FORMAT = 'drivetrain-checkpoint/1';
export const MANIFEST = 'checkpoint.json';

function checksumOf(manifest: Manifest): string {
  const { createHash } = process.getBuiltinModule('node:crypto');
  return createHash('sha256').update(JSON.stringify(manifest)).digest('hex');
}

export function formatManifest(manifest: Manifest): Uint8Array {
  return Buffer.from(`${JSON.stringify({ ...manifest, checksum: checksumOf(manifest) }, null, 2)}\n`);
}

/** Reads and checks a manifest. `DT_CORRUPT_FILE`, `DT_NOT_FOUND`, `DT_IO`. */
export async function readManifest(path: string): Promise<Manifest> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw asFileError(error, 'read', path);
  }
  let parsed: Manifest & { checksum: string };
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw damaged(path, `it is no JSON: ${(error as Error).message}`);
  }
  const { checksum, ...manifest } = parsed ?? {};
  if (manifest.format !== FORMAT)
    throw damaged(path, `its format is ${JSON.stringify(manifest.format)}, not ${FORMAT}`);
  if (checksum !== checksumOf(manifest)) throw damaged(path, 'its content does not have its checksum');
  const metrics = Object.entries(manifest.metrics).map(([name, value]) => [name, value ?? NaN]);
  return { ...manifest, metrics: Object.fromEntries(metrics) };
}

export function damaged(path: string, reason: string): DrivetrainError {
  return new DrivetrainError(
    'DT_CORRUPT_FILE',
    `Expected a whole checkpoint but ${path} is damaged: ${reason}.`,
  );
}
