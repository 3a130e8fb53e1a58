import { DrivetrainError } from '../native/index.js';
import { assign, checkTensor } from '../ops/index.js';
import { compile } from '../program/index.js';
import { formatShape, type Storage, sameShape, Tensor } from '../tensor/index.js';

/** A tensor that can be loaded. */
export interface StateEntry {
  readonly name: string;
  readonly tensor: Tensor;
  /** Throws where `load` would. */
  readonly check: () => void;
  /** Copies a saved tensor, of the same shape and dtype, into this one. */
  readonly load: (source: Tensor) => void;
}

/** The entry of a tensor that is loaded by copying. */
export function stateEntry(name: string, tensor: Tensor): StateEntry {
  return {
    name,
    tensor,
    check: () => tensor.checkReady(true),
    load: (source) => assign(tensor, source),
  };
}

/** Loads all entries, or throws before the first where a tensor is missing, unknown or of another kind. */
export function loadState(entries: readonly StateEntry[], state: Readonly<Record<string, Tensor>>): void {
  checkFits(entries, state);
  for (const { name } of entries) state[name]!.checkReady(false);
  for (const { check } of entries) check();
  for (const { name, load } of entries) load(state[name]!);
}

/** The same in one run of a program, which waits for its tensors as every run does. */
export async function loadStateInTurn(
  entries: readonly StateEntry[],
  state: Readonly<Record<string, Tensor>>,
): Promise<void> {
  checkFits(entries, state);
  const load = compile(() => {
    for (const entry of entries) entry.load(state[entry.name]!);
  });
  const sealed = entries.map(({ tensor }) => tensor.storage).filter(({ sealed }) => sealed);
  // The call submits the run, which looks then at what it may write.
  await withThawed(sealed, () => load());
}

/** Calls `fn`, which may write storages that are sealed. */
export function withThawed<T>(sealed: readonly Storage[], fn: () => T): T {
  const before = sealed.map(({ frozen }) => frozen);
  for (const storage of sealed) storage.frozen = false;
  try {
    return fn();
  } finally {
    sealed.forEach((storage, i) => {
      storage.frozen = before[i]!;
    });
  }
}

function checkFits(entries: readonly StateEntry[], state: Readonly<Record<string, Tensor>>): void {
  checkIsState(state);
  checkNames(
    entries.map(({ name }) => name),
    state,
  );
  for (const { name, tensor } of entries) {
    checkTensor(`loadStateDict, ${name}`, state[name]);
    checkSameKind(name, tensor, state[name]);
  }
}

function checkIsState(state: unknown): void {
  const refuse = (received: string) => {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected tensors by name, as stateDict() gives them, for loadStateDict but received ${received}.`,
    );
  };
  if (typeof state === 'string') refuse('a string; of a file, pass (await readSafetensors(path)).tensors');
  if (typeof state !== 'object' || state === null) refuse(`${typeof state}`);
  const { tensors, metadata } = state as { tensors?: unknown; metadata?: unknown };
  if (isRecord(tensors) && isRecord(metadata)) refuse('what readSafetensors gives; pass its tensors');
  if (typeof (state as PromiseLike<unknown>).then === 'function') refuse('a promise; await it first');
}

const isRecord = (value: unknown) =>
  typeof value === 'object' && value !== null && !(value instanceof Tensor);

function checkNames(own: readonly string[], state: Readonly<Record<string, Tensor>>): void {
  const names = new Set(own);
  const missing = own.filter((name) => !Object.hasOwn(state, name));
  const unknown = Object.keys(state).filter((name) => !names.has(name));
  if (missing.length === 0 && unknown.length === 0) return;
  const list = (what: string, found: string[]) => (found.length > 0 ? ` ${what}: ${found.join(', ')}.` : '');
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected exactly the tensors that stateDict() names for loadStateDict but received others.${list('Missing', missing)}${list('Unknown', unknown)}`,
  );
}

function checkSameKind(name: string, target: Tensor, source: Tensor): void {
  if (source.dtype === target.dtype && sameShape(source.shape, target.shape)) return;
  throw new DrivetrainError(
    'DT_SHAPE_MISMATCH',
    `Expected ${target.dtype} ${formatShape(target.shape)} for ${name} but received ${source.dtype} ${formatShape(source.shape)}.`,
  );
}
