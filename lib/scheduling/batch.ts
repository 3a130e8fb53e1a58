import { DrivetrainError, type TypedArray } from '../native/index.js';
import { DTYPES, type DType, formatShape, Tensor, wrap } from '../tensor/index.js';

/** The elements of some rows, owned. */
export interface Rows {
  readonly values: TypedArray;
  readonly dtype: DType;
  readonly rows: number;
  /** The shape of one row. */
  readonly rowShape: readonly number[];
}

/** One tensor of the rows of all parts, in their order; they share dtype and row shape. */
export function gather(parts: readonly Rows[]): Tensor {
  const { dtype, rowShape, values } = parts[0]!;
  if (parts.length === 1) return wrap(values, [parts[0]!.rows, ...rowShape], { dtype });
  let rows = 0;
  let size = 0;
  for (const part of parts) {
    rows += part.rows;
    size += part.values.length;
  }
  const all = new DTYPES[dtype].array(size);
  let offset = 0;
  for (const part of parts) {
    (all as Float32Array).set(part.values as Float32Array, offset);
    offset += part.values.length;
  }
  return wrap(all, [rows, ...rowShape], { dtype });
}

/** Gives every part its own rows of `output`, each an owned copy, and disposes `output`. */
export async function scatter(output: Tensor, parts: readonly Rows[]): Promise<Tensor[]> {
  if (!(output instanceof Tensor)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected run to resolve to a Tensor but received ${typeof output}.`,
    );
  }
  const { dtype, shape } = output;
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  let all: TypedArray;
  try {
    if (shape[0] !== rows) {
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected run to return ${rows} rows for a batch of ${rows} but received shape ${formatShape(shape)}.`,
      );
    }
    all = await output.read();
  } finally {
    output.dispose();
  }
  if (parts.length === 1) return [wrap(all, shape, { dtype })];
  const rowShape = shape.slice(1);
  const width = all.length / rows;
  let row = 0;
  return parts.map((part) => {
    const values = all.slice(row * width, (row + part.rows) * width);
    row += part.rows;
    return wrap(values, [part.rows, ...rowShape], { dtype });
  });
}
