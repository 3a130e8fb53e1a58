import { DrivetrainError } from '../native/index.js';
import { DTYPES, type DType, formatShape, MAX_RANK, type Shape } from '../tensor/index.js';
import { JsonCursor, printable } from './json-cursor.js';

/** The reference implementation's limit (MAX_HEADER_SIZE), in bytes. */
export const MAX_HEADER_BYTES = 100_000_000;

export const METADATA_KEY = '__metadata__';

/** Where a tensor lies: bytes `begin` to `end` (exclusive) after the header. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order in which they lie in the file. */
  readonly entries: readonly TensorEntry[];
  readonly metadata: Record<string, string>;
}

/** Ours, in the order in which the reference implementation lays tensors out: by falling alignment. */
const BY_FILE_NAME = new Map<string, DType>([
  ['I64', 'i64'],
  ['F64', 'f64'],
  ['F32', 'f32'],
  ['I32', 'i32'],
  ['BF16', 'bf16'],
  ['F16', 'f16'],
  ['I8', 'i8'],
  ['U8', 'u8'],
  ['BOOL', 'bool'],
]);

/** Valid in the format, but nothing here computes with them. */
const FOREIGN = new Set(
  'U64 U32 U16 I16 C64 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ F6_E2M3 F6_E3M2 F4'.split(' '),
);

const FILE_NAMES = new Map([...BY_FILE_NAME].map(([fileName, dtype]) => [dtype, fileName]));
const LAYOUT = [...BY_FILE_NAME.values()];

/**
 * Parses and checks the JSON header of a safetensors file whose data is `dataBytes` long.
 *
 * Strict, so that a file has one meaning: the header begins with '{'; each tensor has exactly dtype, shape and
 * data_offsets; no key stands twice; the tensors cover the data without holes or overlaps and each has as many
 * bytes as its dtype and shape say. Anything else is `DT_CORRUPT_FILE`, naming `source` and the tensor; a dtype or
 * rank that is valid but not ours is `DT_DTYPE_MISMATCH` or `DT_SHAPE_MISMATCH`.
 */
export function parseHeader(header: Uint8Array, dataBytes: number, source: string): SafetensorsHeader {
  const fail = (reason: string) => corrupt(source, reason);
  if (header[0] !== 0x7b) fail("the header does not begin with '{'");
  const cursor = new JsonCursor(decodeUtf8(header, fail), fail);
  const entries: TensorEntry[] = [];
  const metadata: Record<string, string> = Object.create(null);
  cursor.object('the header', (name) => {
    if (name === METADATA_KEY) {
      cursor.object(METADATA_KEY, (key) => {
        metadata[key] = cursor.string(`${METADATA_KEY} ${printable(key)}`);
      });
    } else {
      entries.push(parseEntry(cursor, name, source));
    }
  });
  cursor.end();
  checkLayout(entries, dataBytes, source);
  return { entries, metadata };
}

/** The header's JSON for tensors laid out by `layOut`, padded with spaces to a multiple of 8 bytes. */
export function formatHeader(
  entries: readonly TensorEntry[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const parts: string[] = [];
  if (Object.keys(metadata).length > 0) {
    const pairs = Object.entries(metadata).sort(([a], [b]) => compareUtf8(a, b));
    parts.push(
      `"${METADATA_KEY}":{${pairs.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`,
    );
  }
  for (const { name, dtype, shape, begin, end } of entries) {
    const info = { dtype: FILE_NAMES.get(dtype), shape, data_offsets: [begin, end] };
    parts.push(`${JSON.stringify(name)}:${JSON.stringify(info)}`);
  }
  const json = `{${parts.join(',')}}`;
  const length = Buffer.byteLength(json);
  const header = Buffer.alloc(Math.ceil(length / 8) * 8, ' ');
  header.write(json);
  if (header.length > MAX_HEADER_BYTES) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected names and metadata to fit a safetensors header of ${MAX_HEADER_BYTES} bytes but they need ${header.length}; store less metadata or several files.`,
    );
  }
  return header;
}

/**
 * Gives each tensor its place: by falling alignment of the dtype, then by name in UTF-8, as the reference does. So
 * every tensor is aligned in the file and the same content gives the same bytes.
 */
export function layOut(tensors: readonly Omit<TensorEntry, 'begin' | 'end'>[]): TensorEntry[] {
  const rank = (dtype: DType) => LAYOUT.indexOf(dtype);
  const sorted = [...tensors].sort((a, b) => rank(a.dtype) - rank(b.dtype) || compareUtf8(a.name, b.name));
  let end = 0;
  return sorted.map(({ name, dtype, shape }) => {
    const begin = end;
    end += byteLength(dtype, shape);
    return { name, dtype, shape, begin, end };
  });
}

export function corrupt(source: string, reason: string, cause?: unknown): never {
  throw new DrivetrainError(
    'DT_CORRUPT_FILE',
    `${source} is not a sound safetensors file: ${reason}.`,
    cause === undefined ? undefined : { cause },
  );
}

function parseEntry(cursor: JsonCursor, name: string, source: string): TensorEntry {
  const tensor = `tensor ${printable(name)}`;
  let dtype: DType | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  cursor.object(tensor, (key) => {
    if (key === 'dtype') dtype = toDType(cursor.string(`the dtype of ${tensor}`), tensor, source);
    else if (key === 'shape') shape = parseShape(cursor, tensor, source);
    else if (key === 'data_offsets') offsets = cursor.naturals(`data_offsets of ${tensor}`, 2);
    else corrupt(source, `${tensor} has the unknown field ${printable(key)}`);
  });
  if (dtype === undefined) corrupt(source, `${tensor} has no dtype`);
  if (shape === undefined) corrupt(source, `${tensor} has no shape`);
  if (offsets?.length !== 2) corrupt(source, `${tensor} has no pair of data_offsets`);
  const [begin, end] = offsets as [number, number];
  const bytes = byteLength(dtype, shape);
  if (!Number.isSafeInteger(bytes)) {
    corrupt(source, `${tensor} of shape ${formatShape(shape)} has more bytes than can be counted`);
  }
  if (end - begin !== bytes) {
    corrupt(
      source,
      `${tensor} has data_offsets [${begin}, ${end}], but ${dtype} of shape ${formatShape(shape)} takes ${bytes} bytes`,
    );
  }
  return { name, dtype, shape, begin, end };
}

function parseShape(cursor: JsonCursor, tensor: string, source: string): number[] {
  // 64, NumPy's and PyTorch's limit, is where a shape stops being merely too much for us.
  const shape = cursor.naturals(`the shape of ${tensor}`, 64);
  if (shape.length > MAX_RANK) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected at most ${MAX_RANK} dimensions but ${tensor} in ${source} has ${shape.length}; reshape it before it is saved.`,
    );
  }
  return shape;
}

function toDType(fileName: string, tensor: string, source: string): DType {
  const dtype = BY_FILE_NAME.get(fileName);
  if (dtype !== undefined) return dtype;
  if (FOREIGN.has(fileName)) {
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected one of the dtypes ${[...BY_FILE_NAME.keys()].join(', ')} but ${tensor} in ${source} is ${fileName}; convert it before it is saved.`,
    );
  }
  return corrupt(source, `${tensor} has the unknown dtype ${printable(fileName)}`);
}

function checkLayout(entries: TensorEntry[], dataBytes: number, source: string): void {
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== covered) {
      const what = begin < covered ? 'overlaps the tensor before it' : 'leaves a hole before it';
      corrupt(
        source,
        `tensor ${printable(name)} has data_offsets [${begin}, ${end}] and ${what}, which ends at ${covered}`,
      );
    }
    covered = end;
  }
  if (covered !== dataBytes) {
    corrupt(source, `its tensors take ${covered} bytes but ${dataBytes} bytes follow the header`);
  }
}

/** Dimensions of 0 are left out of the product that is checked, so that [0, 2^52, 2^52] is too large as well. */
function byteLength(dtype: DType, shape: Shape): number {
  let bytes = DTYPES[dtype].bytes;
  for (const dimension of shape) {
    if (dimension !== 0) bytes *= dimension;
    if (!Number.isSafeInteger(bytes)) return Number.NaN;
  }
  return shape.includes(0) ? 0 : bytes;
}

function decodeUtf8(bytes: Uint8Array, fail: (reason: string) => never): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return fail('the header is not UTF-8');
  }
}

/** The order of the bytes in UTF-8, which is that of the code points; `<` would compare UTF-16 units. */
function compareUtf8(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
