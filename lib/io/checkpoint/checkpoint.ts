import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DrivetrainError } from '../../native/index.js';
import type { Tensor } from '../../tensor/index.js';
import { asFileError } from '../files.js';
import { readSafetensors } from '../safetensors.js';
import { type CheckpointInfo, damaged, MANIFEST, type Manifest, readManifest } from './manifest.js';

/** What a checkpoint can keep: a module, an optimizer, a schedule, a generator, or anything else with state. */
export interface Stateful {
  stateDict(): object;
  loadStateDict(state: never): void;
}

/** The parts of a training run, by names of one's own. */
export type CheckpointParts = Readonly<Record<string, Stateful>>;

/** A checkpoint on disk, found whole. */
export class Checkpoint implements CheckpointInfo {
  readonly path: string;
  readonly #manifest: Manifest;

  private constructor(path: string, manifest: Manifest) {
    this.path = path;
    this.#manifest = manifest;
  }

  /**
   * Opens the directory of a checkpoint and compares every file with its checksum. Throws `DT_CORRUPT_FILE` where one
   * differs, `DT_NOT_FOUND`, `DT_IO`.
   */
  static async open(path: string): Promise<Checkpoint> {
    const manifest = await readManifest(join(path, MANIFEST));
    for (const [name, expected] of Object.entries(manifest.files)) {
      const file = join(path, fileOf(name));
      const found = await digestOf(file);
      if (found.bytes !== expected.bytes)
        throw damaged(file, `it has ${found.bytes} bytes, not ${expected.bytes}`);
      if (found.sha256 !== expected.sha256) throw damaged(file, 'its content does not have its checksum');
    }
    return new Checkpoint(path, manifest);
  }

  get id(): string {
    return this.#manifest.id;
  }
  get time(): string {
    return this.#manifest.time;
  }
  get step(): number {
    return this.#manifest.step;
  }
  get metrics(): CheckpointInfo['metrics'] {
    return this.#manifest.metrics;
  }
  get config(): CheckpointInfo['config'] {
    return this.#manifest.config;
  }

  /** The names of its parts. */
  get parts(): readonly string[] {
    return Object.keys(this.#manifest.state);
  }

  /**
   * Loads the saved state into `parts`, all of them or some, by the names they were saved with. Everything is read before
   * the first part is changed; a part that refuses its state (`DT_INVALID_ARGUMENT`, `DT_SHAPE_MISMATCH`) leaves those
   * before it loaded.
   */
  async load(parts: CheckpointParts): Promise<void> {
    const unknown = Object.keys(parts).filter((name) => !Object.hasOwn(this.#manifest.state, name));
    if (unknown.length > 0) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected parts among ${this.parts.join(', ')} to load from ${this.path} but received ${unknown.join(', ')}.`,
      );
    }
    const read: [name: string, tensors: Record<string, Tensor>][] = [];
    try {
      for (const name of Object.keys(parts)) {
        const has = Object.hasOwn(this.#manifest.files, name);
        read.push([name, has ? (await readSafetensors(join(this.path, fileOf(name)))).tensors : {}]);
      }
      for (const [name, tensors] of read) {
        const state = { ...tensors, ...(this.#manifest.state[name] as object) };
        parts[name]!.loadStateDict(state as never);
      }
    } finally {
      for (const [, tensors] of read) for (const tensor of Object.values(tensors)) tensor.dispose();
    }
  }
}

/** The file of a part's tensors. */
export const fileOf = (part: string): string => `${part}.safetensors`;

/** A file's length and SHA-256, read from the disk. */
export async function digestOf(path: string): Promise<{ bytes: number; sha256: string }> {
  const { createReadStream } = process.getBuiltinModule('node:fs');
  const { createHash } = process.getBuiltinModule('node:crypto');
  const { pipeline } = process.getBuiltinModule('node:stream/promises');
  const hash = createHash('sha256');
  try {
    const { size } = await stat(path);
    await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
    return { bytes: size, sha256: hash.digest('hex') };
  } catch (error) {
    throw asFileError(error, 'read', path);
  }
}
