import type { DType } from '../tensor/index.js';

/** The datatypes of the Open Inference Protocol that a model can declare. The others have no dtype of ours. */
export type Datatype = 'BOOL' | 'UINT8' | 'INT8' | 'INT32' | 'INT64' | 'FP16' | 'BF16' | 'FP32' | 'FP64';

export interface DatatypeInfo {
  readonly dtype: DType;
  readonly bytes: number;
  /** Absent where elements have no form in JSON, so that tensors travel in binary only. */
  readonly json?: {
    /** What an element may be, in words. */
    readonly expected: string;
    /** The element as its typed array keeps it; undefined where it is not one. */
    parse(element: unknown): number | bigint | undefined;
  };
}

/** A map, so that names out of a request never meet `Object.prototype`. */
export const DATATYPES: ReadonlyMap<string, DatatypeInfo> = new Map<Datatype, DatatypeInfo>([
  ['BOOL', { dtype: 'bool', bytes: 1, json: { expected: 'true or false', parse: parseBool } }],
  ['UINT8', { dtype: 'u8', bytes: 1, json: whole(0, 2 ** 8 - 1) }],
  ['INT8', { dtype: 'i8', bytes: 1, json: whole(-(2 ** 7), 2 ** 7 - 1) }],
  ['INT32', { dtype: 'i32', bytes: 4, json: whole(-(2 ** 31), 2 ** 31 - 1) }],
  [
    'INT64',
    {
      dtype: 'i64',
      bytes: 8,
      json: {
        // Past the safe integers JSON.parse rounds: the number that was meant is no longer known.
        expected: 'a whole number within ±(2^53 - 1) (beyond that send binary)',
        parse: (element) => (Number.isSafeInteger(element) ? BigInt(element as number) : undefined),
      },
    },
  ],
  ['FP16', { dtype: 'f16', bytes: 2 }],
  ['BF16', { dtype: 'bf16', bytes: 2 }],
  [
    'FP32',
    {
      dtype: 'f32',
      bytes: 4,
      json: {
        expected: 'a finite number within the range of 32-bit floats',
        parse: (element) =>
          Number.isFinite(element) && fitsFloat32(element as number) ? (element as number) : undefined,
      },
    },
  ],
  [
    'FP64',
    {
      dtype: 'f64',
      bytes: 8,
      json: {
        expected: 'a finite number',
        parse: (element) => (Number.isFinite(element) ? (element as number) : undefined),
      },
    },
  ],
]);

/** Whether it is finite still when rounded to 32 bits. */
function fitsFloat32(value: number): boolean {
  return Number.isFinite(Math.fround(value));
}

function whole(least: number, most: number): NonNullable<DatatypeInfo['json']> {
  return {
    expected: `a whole number from ${least} to ${most}`,
    parse: (element) =>
      Number.isInteger(element) && (element as number) >= least && (element as number) <= most
        ? (element as number)
        : undefined,
  };
}

function parseBool(element: unknown): number | undefined {
  if (element === true || element === 1) return 1;
  return element === false || element === 0 ? 0 : undefined;
}
