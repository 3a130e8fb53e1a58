import { add, clone, type DrivetrainError, defaultPool, type Tensor, zeros } from 'drivetrain';
import { expect } from 'vitest';

/** Expects a rejection or an exception with one of our codes; returns the error. */
export async function failure(code: string, act: () => unknown): Promise<DrivetrainError> {
  let outcome: unknown;
  try {
    outcome = await act();
  } catch (error) {
    expect(error).toMatchObject({ name: 'DrivetrainError', code });
    return error as DrivetrainError;
  }
  throw new Error(`expected ${code} but it went through with ${String(outcome).slice(0, 100)}`);
}

const SLOW_ELEMENTS = 2 ** 20;

/** A tensor on which `slowly` takes its time. */
export const big = (): Tensor => zeros([SLOW_ELEMENTS]);

/**
 * Adds `steps`, an even number, in as many instructions, which nothing fuses: bound by memory, so that one takes some
 * 0.2 ms on every instruction set.
 */
export function slowly(x: Tensor, steps: number): Tensor {
  let y = x;
  for (let i = 0; i < steps; i += 2) y = clone(add(y, 2));
  return y;
}

/** The bits of a tensor's elements. */
export function bits(t: Tensor): string {
  const { buffer } = t.toArray();
  return Buffer.from(buffer).toString('hex');
}

/**
 * Asks `serve` again and again, as eight clients do, until `done()`. Expects of each client that every answer is, to the bit,
 * one of `answers`, that none is older than the one before, and that it got some all along; gives the places of what was seen.
 */
export async function askedUntil(
  done: () => boolean,
  serve: () => Promise<Tensor>,
  answers: readonly string[],
): Promise<Set<number>> {
  const seen = new Set<number>();
  const clients = Array.from({ length: 8 }, async () => {
    let last = 0;
    let count = 0;
    while (!done()) {
      const answer = await serve();
      const at = answers.indexOf(bits(answer));
      answer.dispose();
      expect(at, 'which answer it is').toBeGreaterThanOrEqual(last);
      seen.add(at);
      last = at;
      count++;
    }
    return count;
  });
  for (const count of await Promise.all(clients)) expect(count).toBeGreaterThan(2);
  return seen;
}

/**
 * Remembers how much the default pool holds now; the function that it gives expects that it holds no more. It may hold
 * less, since the garbage collector frees at its own time what earlier tests left.
 */
export function watchPool(): () => void {
  const before = defaultPool.statistics;
  return () => {
    const { current, blocks, reserved } = defaultPool.statistics;
    expect(current).toBeLessThanOrEqual(before.current);
    expect(blocks).toBeLessThanOrEqual(before.blocks);
    expect(reserved).toBeLessThanOrEqual(before.reserved);
  };
}

/** Lets the event loop come round. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
