import { DrivetrainError } from '../native/index.js';
import type { MemoryPool } from './memory-pool.js';
import { releaseWhenForgotten, type SharedStorage, type Storage } from './storage.js';

/** What is made while a scope is open; it is disposed at the scope's end unless it is returned. */
interface Scope {
  readonly pool: MemoryPool;
  readonly storages: Set<SharedStorage>;
}

const scopes: Scope[] = [];

/** The pool of the innermost open scope. */
export function innermostPool(): MemoryPool | undefined {
  return scopes.at(-1)?.pool;
}

/** Leaves a storage to the innermost scope, or to the garbage collector where none is open. */
export function adopt(storage: SharedStorage): void {
  const scope = scopes.at(-1);
  if (scope !== undefined) scope.storages.add(storage);
  else releaseWhenForgotten(storage);
}

/** Calls `fn` with new tensors from `pool`, and disposes what it made and did not return. */
export function withScope<T>(pool: MemoryPool, fn: () => T): T {
  const scope: Scope = { pool, storages: new Set() };
  scopes.push(scope);
  let result: T;
  try {
    result = fn();
  } catch (error) {
    for (const storage of scope.storages) storage.dispose();
    throw error;
  } finally {
    scopes.pop();
  }
  const kept = new Set<unknown>();
  collectStorages(result, kept);
  for (const storage of scope.storages) {
    if (kept.has(storage)) adopt(storage);
    else storage.dispose();
  }
  if (typeof (result as { then?: unknown } | null | undefined)?.then === 'function') {
    // Its tensors are gone, so that it will probably be rejected: that must not end the process.
    Promise.resolve(result).catch(() => {});
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      'Expected a synchronous function for scope but received one that returns a promise; dispose what an asynchronous function makes by hand.',
    );
  }
  return result;
}

/** Calls `fn` outside of all scopes: for state of the library's own, which no scope of a user's may end. */
export function outsideScopes<T>(fn: () => T): T {
  const open = scopes.splice(0);
  try {
    return fn();
  } finally {
    scopes.push(...open);
  }
}

/** The storages of a value's tensors: of the value itself, or of what arrays and objects hold. */
export function collectStorages(value: unknown, into: Set<unknown>): void {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || into.has(value)) return;
  const { storage } = value as { storage?: Storage };
  if (storage !== undefined) {
    into.add(storage);
    return;
  }
  into.add(value);
  for (const item of Array.isArray(value) ? value : Object.values(value)) collectStorages(item, into);
}
