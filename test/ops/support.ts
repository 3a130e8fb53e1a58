import { readFileSync } from 'node:fs';
import {
  compile,
  contiguous,
  DrivetrainError,
  type DType,
  defaultPool,
  permute,
  slice,
  Tensor,
  tensor,
} from 'drivetrain';
import fc from 'fast-check';
import { expect } from 'vitest';
import type { TypedArray } from '../../dist/native/index.js';
import { DTYPES } from '../../dist/tensor/index.js';

export type Float = 'f32' | 'f64';
export const FLOATS = ['f32', 'f64'] as const;

/** The largest relative error of one rounding. */
export const UNIT = { f32: 2 ** -24, f64: 2 ** -53 };
/** The smallest normal number: kernels may take anything smaller for zero. */
export const TINY = { f32: 2 ** -126, f64: 2 ** -1022 };
export const LARGEST = { f32: (2 - 2 ** -23) * 2 ** 127, f64: Number.MAX_VALUE };

/** What a tensor holds, after it is gone. */
export interface Value {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: TypedArray;
}

export const contentOf = (t: Tensor): Value => ({ dtype: t.dtype, shape: [...t.shape], data: t.toArray() });
export const numbersOf = ({ data }: Value): number[] => Array.from(data as ArrayLike<number>, Number);

export function bitsOf(data: TypedArray): string {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex');
}

/** Equal to the bit, NaN and -0 too. */
export function expectSameBits(actual: Value, expected: Value, note = ''): void {
  expect({ dtype: actual.dtype, shape: actual.shape }, note).toEqual({
    dtype: expected.dtype,
    shape: expected.shape,
  });
  if (bitsOf(actual.data) !== bitsOf(expected.data)) expect(actual.data, note).toEqual(expected.data);
  expect(bitsOf(actual.data) === bitsOf(expected.data), `${note}: other bits`).toBe(true);
}

type Results = Tensor | readonly Tensor[];
const list = (results: Results): readonly Tensor[] => (results instanceof Tensor ? [results] : results);

/**
 * Calls `fn` eagerly, compiled and awaited, and compiled and synchronous: all three must agree to the bit. A compiled
 * function takes its inputs row by row, but what it captures as it lies: both are tried. Gives the eager values; frees
 * everything but the inputs.
 */
export async function bothWays(
  fn: (...inputs: Tensor[]) => Results,
  inputs: readonly Tensor[],
): Promise<Value[]> {
  const eagerly = (given: readonly Tensor[]) => defaultPool.scope(() => list(fn(...given)).map(contentOf));
  const eager = eagerly(inputs);
  const rowMajor = defaultPool.scope(() => eagerly(inputs.map(contiguous)));
  await expectRecorded(fn, inputs, rowMajor, 'with inputs');
  if (inputs.length > 0) await expectRecorded(() => fn(...inputs), [], eager, 'with what it captured');
  return eager;
}

async function expectRecorded(
  fn: (...inputs: Tensor[]) => Results,
  inputs: readonly Tensor[],
  want: readonly Value[],
  note: string,
): Promise<void> {
  const compiled = compile((...symbols: Tensor[]) => list(fn(...symbols)));
  compiled.program(...inputs); // what the recording makes must not belong to the scope
  const sync = defaultPool.scope(() => compiled.runSync(...inputs).map(contentOf));
  const outputs = await compiled(...inputs);
  const awaited = outputs.map(contentOf);
  for (const output of outputs) output.dispose();
  expect(sync).toHaveLength(want.length);
  want.forEach((value, i) => {
    expectSameBits(sync[i]!, value, `output ${i} of runSync ${note} against eager`);
    expectSameBits(awaited[i]!, value, `output ${i} of run ${note} against eager`);
  });
}

/** The same for a function of one result. */
export async function bothWays1(
  fn: (...inputs: Tensor[]) => Tensor,
  inputs: readonly Tensor[],
): Promise<Value> {
  return (await bothWays(fn, inputs))[0]!;
}

/** |got − want| must be at most `bound`, element by element; NaN and infinities must match. `want` is in double. */
export function expectWithin(
  got: Value,
  want: ArrayLike<number>,
  bound: number | ((i: number) => number),
  note = '',
): void {
  const data = numbersOf(got);
  expect(data.length, note).toBe(want.length);
  const largest = got.dtype === 'f64' ? LARGEST.f64 : LARGEST.f32;
  for (let i = 0; i < data.length; i++) {
    const wanted = want[i]!;
    const allowed = typeof bound === 'number' ? bound : bound(i);
    if (Object.is(data[i], wanted) || data[i] === wanted) continue;
    // What rounds beyond the largest number is infinity.
    if (Math.abs(data[i]!) === Infinity && data[i]! * wanted > 0 && Math.abs(wanted) + allowed >= largest)
      continue;
    if (!(Math.abs(data[i]! - wanted) <= allowed)) {
      expect.fail(`${note} element ${i}: expected ${wanted} ± ${allowed} but received ${data[i]}`);
    }
  }
}

/** Numbers too small to be normal, of both signs. */
export function denormals(dtype: Float): number[] {
  const smallest = dtype === 'f32' ? 2 ** -149 : 2 ** -1074;
  return [smallest, 3 * smallest, TINY[dtype] / 1024, TINY[dtype] / 2, TINY[dtype] - smallest].flatMap(
    (x) => [x, -x],
  );
}

/** A deterministic source of test data (mulberry32): uniform on [0, 1). */
export function randomSource(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `n` numbers between -scale and scale, each exact in the dtype. */
export function randomNumbers(n: number, seed: number, dtype: Float = 'f64', scale = 2): number[] {
  const next = randomSource(seed);
  const round = dtype === 'f32' ? Math.fround : (x: number) => x;
  return Array.from({ length: n }, () => round((2 * next() - 1) * scale));
}

/**
 * Zeros, infinities, NaN, extremes, and normal numbers of all magnitudes: exact in the dtype. Denormals, which kernels may
 * flush or not, are for tests of their own.
 */
export function awkwardNumbers(n: number, seed: number, dtype: Float): number[] {
  const next = randomSource(seed);
  const round = dtype === 'f32' ? Math.fround : (x: number) => x;
  const tiny = TINY[dtype];
  const special = [0, -0, 1, -1, Infinity, -Infinity, NaN, tiny, -tiny, LARGEST[dtype], -LARGEST[dtype], 0.5];
  const exponents = dtype === 'f32' ? 125 : 1021;
  return Array.from({ length: n }, () => {
    const kind = next();
    if (kind < 0.3) return special[Math.floor(next() * special.length)]!;
    if (kind < 0.6)
      return (next() < 0.5 ? -1 : 1) * round((1 + next()) * 2 ** ((2 * next() - 1) * exponents));
    return round((2 * next() - 1) * 20);
  });
}

/** To the nearest integer, of two the even one. */
export function roundToEven(x: number): number {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** The multi-index of element `i`, in row-major order. */
export function indexOf(i: number, shape: readonly number[]): number[] {
  const index = new Array<number>(shape.length);
  let rest = i;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = rest % shape[axis]!;
    rest = Math.floor(rest / shape[axis]!);
  }
  return index;
}

export function offsetOf(index: readonly number[], shape: readonly number[]): number {
  return index.reduce((offset, at, axis) => offset * shape[axis]! + at, 0);
}

/** Where element `i` of `shape` comes from in a tensor of shape `from` that was broadcast to it. */
export function broadcastSource(i: number, shape: readonly number[], from: readonly number[]): number {
  const index = indexOf(i, shape).slice(shape.length - from.length);
  return offsetOf(
    index.map((at, axis) => (from[axis] === 1 ? 0 : at)),
    from,
  );
}

/** Ways for the same elements to lie in memory. */
export type Layout = 'plain' | 'permuted' | 'sliced' | 'strided';
const LAYOUTS: readonly Layout[] = ['plain', 'permuted', 'sliced', 'strided'];

type Data = readonly number[] | readonly bigint[] | TypedArray;

function make(data: Data, shape: readonly number[], dtype: DType): Tensor {
  const array = new DTYPES[dtype].array(data.length);
  for (let i = 0; i < data.length; i++) array[i] = data[i]!;
  return tensor(array, { shape, dtype });
}

/** A tensor of these elements (f16 and bf16 by their bits), laid out as asked; its gaps are filled with garbage. */
export function laidOut(
  data: Data,
  shape: readonly number[],
  dtype: DType = 'f32',
  layout: Layout = 'plain',
): Tensor {
  if (layout === 'plain' || shape.length === 0) return make(data, shape, dtype);
  if (layout === 'permuted') {
    const reversed = [...shape].reverse();
    const moved = Array.from({ length: sizeOf(shape) }, (_, i) => {
      return data[offsetOf(indexOf(i, reversed).reverse(), shape)]!;
    });
    return permute(
      make(moved as number[], reversed, dtype),
      shape.map((_, axis) => shape.length - 1 - axis),
    );
  }
  // A block inside a larger tensor; 'strided' has a gap after every element as well.
  const step = layout === 'strided' ? 2 : 1;
  const outer = [...shape.map((extent) => extent + 2), step];
  const garbage = DTYPES[dtype].array === BigInt64Array ? 77n : 77;
  const block = new Array<number | bigint>(sizeOf(outer)).fill(garbage);
  for (let i = 0; i < sizeOf(shape); i++) {
    block[offsetOf([...indexOf(i, shape).map((at) => at + 1), 0], outer)] = data[i]!;
  }
  let view = slice(make(block as number[], outer, dtype), -1, 0, 1);
  shape.forEach((extent, axis) => {
    view = slice(view, axis, 1, 1 + extent);
  });
  return view.viewAs(shape, view.strides.slice(0, -1));
}

export const layouts = fc.constantFrom(...LAYOUTS);
export const floats = fc.constantFrom(...FLOATS);
export const seeds = fc.nat(0xffffffff);
/** Zero, one, and extents on both sides of the widths of vectors. */
const extents = fc.oneof(
  { arbitrary: fc.integer({ min: 1, max: 9 }), weight: 5 },
  { arbitrary: fc.constantFrom(0, 1, 15, 16, 17, 33, 65), weight: 3 },
);
export const shapes = fc.array(extents, { maxLength: 4 }).filter((shape) => sizeOf(shape) <= 4000);

/** Calls `run`, which must throw a DrivetrainError that says what was expected and what came; returns it. */
export function refusalOf(run: () => unknown): DrivetrainError {
  try {
    run();
  } catch (error) {
    return checkRefusal(error);
  }
  return expect.fail('expected a refusal, but there was none');
}

export async function rejectionOf(promise: Promise<unknown>): Promise<DrivetrainError> {
  try {
    await promise;
  } catch (error) {
    return checkRefusal(error);
  }
  return expect.fail('expected a refusal, but there was none');
}

function checkRefusal(error: unknown): DrivetrainError {
  expect(error).toBeInstanceOf(DrivetrainError);
  const refusal = error as DrivetrainError;
  expect(refusal.code).toMatch(/^DT_[A-Z_]+$/);
  expect(refusal.message).toMatch(/^Expected .+ but .+\.$/s);
  return refusal;
}

export function golden<T>(path: string): T {
  return JSON.parse(readFileSync(new URL(`../goldens/${path}`, import.meta.url), 'utf8')) as T;
}
