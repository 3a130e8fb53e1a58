import { DrivetrainError } from '../native/index.js';
import type { BorrowedStorage, Storage } from '../tensor/index.js';
import type { Step } from './record.js';

/** A slot beyond the arena, the inputs and the outputs: a tensor that the recorded function found outside. */
export interface Captured {
  readonly storage: Storage;
  readonly written: boolean;
}

/** What the steps use from outside. */
export function capturedBy(steps: readonly Step[]): Captured[] {
  const captured = new Map<Storage, boolean>();
  for (const { op, inputs } of steps) {
    inputs.forEach(({ storage }, i) => {
      if (storage.kind === 'symbolic') return;
      captured.set(storage, (captured.get(storage) ?? false) || (op.writes?.(i) ?? false));
    });
  }
  return [...captured].map(([storage, written]) => ({ storage, written }));
}

/** Refuses what a run can not use any more; `userOf` says which step does. */
export function checkCaptured(captured: Captured, userOf: (captured: Captured) => string): void {
  const { storage, written } = captured;
  if (storage.disposed) {
    throw new DrivetrainError(
      'DT_DISPOSED',
      `Expected the tensors that the compiled function uses to be in use but one was disposed, by dispose() or by the end of a scope; it is used by ${userOf(captured)}.`,
    );
  }
  if (written && storage.frozen) {
    throw new DrivetrainError(
      'DT_FROZEN',
      `Expected tensors that may be written where the compiled function writes but one was frozen since it was recorded; it is written by ${userOf(captured)}.`,
    );
  }
  if (storage.kind === 'borrowed') (storage as BorrowedStorage).checkAttached();
}

/**
 * Refuses memory that the steps know by two storages, since their order would not hold for it where it is written. Blocks
 * of pools lie apart: of two that overlap, one is a caller's.
 */
export function checkApart(captured: readonly Captured[]): void {
  if (!captured.some(({ storage }) => storage.callerOwned)) return;
  const byBuffer = new Map<unknown, Captured[]>();
  for (const one of captured) {
    if (one.storage.byteLength === 0) continue;
    const others = byBuffer.get(one.storage.buffer);
    if (others === undefined) byBuffer.set(one.storage.buffer, [one]);
    else others.push(one);
  }
  for (const ranges of byBuffer.values()) {
    ranges.sort((a, b) => a.storage.address - b.storage.address);
    /** Of those that begin before: the one that ends last, and the written one that does. */
    let last: Captured | undefined;
    let lastWritten: Captured | undefined;
    for (const one of ranges) {
      const other = one.written ? last : lastWritten;
      if (other !== undefined && one.storage.address < endOf(other)) throw overlapping(other, one);
      if (last === undefined || endOf(one) > endOf(last)) last = one;
      if (one.written && (lastWritten === undefined || endOf(one) > endOf(lastWritten))) lastWritten = one;
    }
  }
}

function endOf({ storage }: Captured): number {
  return storage.address + storage.byteLength;
}

function overlapping(a: Captured, b: Captured): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected memory that the compiled function writes to be wrapped once but two tensors that it uses overlap (${a.storage.byteLength} and ${b.storage.byteLength} bytes); wrap the whole array once and use views of that tensor (slice, reshape).`,
  );
}
