import { mkdtempSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished } from 'vitest';
import type { TensorData } from '../../dist/io/index.js';

export const golden = (name: string): string =>
  fileURLToPath(new URL(`../goldens/io/${name}`, import.meta.url));

export const goldenBytes = (name: string): Uint8Array => new Uint8Array(readFileSync(golden(name)));

/** A folder that goes with the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'drivetrain-io-'));
  // Windows keeps what a stream has not closed yet: it is tried again while that happens.
  onTestFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 10 }));
  return folder;
}

/** A safetensors file of this header, as text or as a value, and data. */
export function safetensorsBytes(header: unknown, data: Uint8Array | number = 0): Uint8Array {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return new Uint8Array(
    Buffer.concat([length, text, typeof data === 'number' ? new Uint8Array(data) : data]),
  );
}

/** Calls `run`, which must throw a DrivetrainError, and returns it. */
export function failureOf(run: () => unknown): Error & { code: string } {
  try {
    run();
  } catch (error) {
    return expectDrivetrainError(error);
  }
  throw new Error('expected a failure, but there was none');
}

export async function rejectionOf(promise: Promise<unknown>): Promise<Error & { code: string }> {
  try {
    await promise;
  } catch (error) {
    return expectDrivetrainError(error);
  }
  throw new Error('expected a failure, but there was none');
}

function expectDrivetrainError(error: unknown): Error & { code: string } {
  expect(error).toMatchObject({ name: 'DrivetrainError', code: expect.stringMatching(/^DT_/) });
  return error as Error & { code: string };
}

/** Equal to the bit, NaN and -0 too. */
export function expectSameData(actual: TensorData, expected: TensorData): void {
  expect(actual.dtype).toBe(expected.dtype);
  expect(actual.shape).toEqual(expected.shape);
  expect(actual.data.constructor).toBe(expected.data.constructor);
  expect(bits(actual)).toEqual(bits(expected));
}

function bits({ data }: TensorData): string {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex');
}
