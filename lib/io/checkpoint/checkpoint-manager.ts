import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DrivetrainError, inspect } from '../../native/index.js';
import { checkOptions, Tensor } from '../../tensor/index.js';
import { asFileError, renameInUse, syncDirectory, writeAtomically } from '../files.js';
import { writeSafetensors } from '../safetensors.js';
import { Checkpoint, type CheckpointParts, digestOf, fileOf } from './checkpoint.js';
import {
  type CheckpointInfo,
  FORMAT,
  formatManifest,
  type Json,
  MANIFEST,
  type Manifest,
  readManifest,
} from './manifest.js';
import { byMetric, checkRetention, expired, type RetentionOptions } from './retention.js';

export interface SaveOptions {
  /** Steps taken. */
  step: number;
  metrics?: Readonly<Record<string, number>>;
  /** Anything else of the run that JSON can hold. */
  config?: Json;
}

/** A checkpoint in the directory, its manifest read but its tensors not yet compared with their checksums. */
export interface FoundCheckpoint extends CheckpointInfo {
  readonly path: string;
}

const NAME = /^step-\d{10,}-[0-9a-f]{8}$/;
const UNFINISHED = /^\.unfinished-(\d+)-/;
const PART_NAME = /^[A-Za-z0-9][A-Za-z0-9_-]*$/;

/**
 * Checkpoints of a training run in one directory, each a directory of its own: a safetensors file for the tensors of each
 * part, and `checkpoint.json` with the rest, an id, the time and checksums. A checkpoint is written beside the others,
 * flushed to the disk, and appears in one step: a crash at any moment leaves those before it whole.
 */
export class CheckpointManager {
  readonly directory: string;
  readonly #retention: RetentionOptions;
  /** The id of what was saved last. */
  #latest: string | undefined;
  /** Those that were found damaged: they count for nothing, and nobody but the user removes them. */
  readonly #damaged = new Set<string>();
  /** Settles when what was saved before has been tidied up. */
  #tidied: Promise<void> = Promise.resolve();

  constructor(directory: string, retention: RetentionOptions = {}) {
    if (typeof directory !== 'string' || directory === '') {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected the path of a directory for CheckpointManager but received ${inspect(directory, { depth: 0 })}.`,
      );
    }
    checkRetention(retention);
    this.directory = directory;
    this.#retention = { ...retention };
  }

  /**
   * Saves the state of `parts`, as it is when this is called, then removes the checkpoints that need not be kept. Throws
   * `DT_INVALID_ARGUMENT`, `DT_TENSOR_BUSY`, `DT_IO`, and leaves the directory as it was.
   */
  async save(parts: CheckpointParts, options: SaveOptions): Promise<FoundCheckpoint> {
    checkOptions('save', options, ['step', 'metrics', 'config']);
    const { step, metrics = {}, config = null } = options;
    checkSave(parts, step, metrics);
    const { mkdirSync } = process.getBuiltinModule('node:fs');
    const id = process.getBuiltinModule('node:crypto').randomUUID();
    this.#latest = id;
    const path = join(this.directory, `step-${String(step).padStart(10, '0')}-${id.slice(0, 8)}`);
    const folder = join(this.directory, `.unfinished-${process.pid}-${id}`);
    const states = Object.entries(parts).map(([name, part]) => [name, split(part.stateDict())] as const);
    const info = {
      id,
      time: new Date().toISOString(),
      step,
      metrics: { ...metrics },
      config: structuredClone(config),
    };
    const state = Object.fromEntries(states.map(([name, { json }]) => [name, structuredClone(json)]));
    const withTensors = states.filter(([, { tensors }]) => Object.keys(tensors).length > 0);
    // A run that writes one of them would end between the copies: then nothing is saved.
    for (const [, { tensors }] of withTensors)
      for (const one of Object.values(tensors)) one.checkReady(false);
    try {
      mkdirSync(folder, { recursive: true });
      // Tensors are copied when writeSafetensors is called: all of them now, before anything is awaited.
      const written = withTensors.map(async ([name, { tensors }]) => {
        const file = join(folder, fileOf(name));
        await writeSafetensors(file, tensors);
        return [name, await digestOf(file)] as const;
      });
      const files = Object.fromEntries(await Promise.all(written));
      const manifest: Manifest = { format: FORMAT, ...info, state, files };
      await writeAtomically(join(folder, MANIFEST), [formatManifest(manifest)]);
      await renameInUse(folder, path);
      await syncDirectory(this.directory);
    } catch (error) {
      // What cannot be removed is not what went wrong.
      await rm(folder, { recursive: true, force: true }).catch(() => {});
      throw asFileError(error, 'write', path);
    }
    await this.#tidy();
    return { path, ...info };
  }

  /**
   * The checkpoints in the directory, those saved last first: a run that went back to an earlier step, or began anew, goes on
   * from there. Of those with damaged manifests a warning is emitted.
   */
  async list(): Promise<FoundCheckpoint[]> {
    const found: FoundCheckpoint[] = [];
    for (const name of await this.#names(NAME)) {
      const path = join(this.directory, name);
      try {
        const { id, time, step, metrics, config } = await readManifest(join(path, MANIFEST));
        found.push({ path, id, time, step, metrics, config });
      } catch (error) {
        warn(error);
      }
    }
    return found.sort((a, b) => Date.parse(b.time) - Date.parse(a.time) || b.step - a.step);
  }

  /** The newest checkpoint that is whole, or undefined; of damaged ones a warning is emitted. */
  async latest(): Promise<Checkpoint | undefined> {
    return this.#firstWhole(await this.list());
  }

  /** The best by the metric of the constructor's `best` that is whole, or undefined. */
  async best(): Promise<Checkpoint | undefined> {
    const { best } = this.#retention;
    if (best !== undefined) return this.#firstWhole(byMetric(await this.list(), best));
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      'Expected a CheckpointManager with the option best but received one without.',
    );
  }

  async #firstWhole(found: readonly FoundCheckpoint[]): Promise<Checkpoint | undefined> {
    for (const { path, id } of found) {
      try {
        return await Checkpoint.open(path);
      } catch (error) {
        warn(error);
        this.#damaged.add(id);
      }
    }
    return undefined;
  }

  /** Removes what need not be kept, and what processes that have ended left unfinished. */
  async #tidy(): Promise<void> {
    // One after another: saves that overlap would remove the same ones.
    this.#tidied = this.#tidied.then(async () => {
      const whole = (await this.list()).filter(({ id }) => !this.#damaged.has(id));
      for (const { path, id } of expired(whole, this.#retention)) {
        // The clock may have been set back.
        if (id === this.#latest) continue;
        // Renamed first: half a checkpoint must not look like one.
        const folder = join(this.directory, `.unfinished-${process.pid}-${id}`);
        await renameInUse(path, folder);
        await rm(folder, { recursive: true, force: true });
      }
      await this.#removeUnfinished();
    });
    const done = this.#tidied;
    this.#tidied = done.catch(() => {});
    await done;
  }

  async #removeUnfinished(): Promise<void> {
    for (const name of await this.#names(UNFINISHED)) {
      if (isRunning(Number(UNFINISHED.exec(name)![1]))) continue;
      await rm(join(this.directory, name), { recursive: true, force: true });
    }
  }

  async #names(pattern: RegExp): Promise<string[]> {
    try {
      return (await readdir(this.directory)).filter((name) => pattern.test(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw asFileError(error, 'read', this.directory);
    }
  }
}

type StateOf = { tensors: Record<string, Tensor>; json: Record<string, Json> };

/** A part's tensors, and the rest. */
function split(state: object): StateOf {
  const result: StateOf = { tensors: {}, json: {} };
  for (const [key, value] of Object.entries(state)) {
    if (value instanceof Tensor) result.tensors[key] = value;
    else result.json[key] = value;
  }
  return result;
}

function warn(error: unknown): void {
  if (!(error instanceof DrivetrainError)) throw error;
  process.emitWarning(error.message, { type: 'DrivetrainWarning', code: error.code });
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function checkSave(parts: CheckpointParts, step: number, metrics: Readonly<Record<string, number>>): void {
  const refuse = (expected: string, received: unknown): never => {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected ${expected} but received ${String(received)}.`,
    );
  };
  if (!Number.isSafeInteger(step) || step < 0) refuse('a whole number from 0 on as step', step);
  for (const [name, part] of Object.entries(parts)) {
    if (!PART_NAME.test(name)) refuse('names of letters, digits, _ and - for parts', JSON.stringify(name));
    if (typeof part?.stateDict !== 'function') refuse(`something with a stateDict as ${name}`, typeof part);
  }
  for (const [name, value] of Object.entries(metrics)) {
    if (typeof value !== 'number') refuse(`a number for metric ${name}`, typeof value);
  }
}
