// What stands between the products of BERT-base, over the rows of a matrix: rows x columns.
import { constant, problem, random } from '../data.mjs';

export const group = 'rows';

const EPS = 1e-5;

const rowAround = (index, x, columns) => {
  const from = Math.floor(index / columns) * columns;
  return x.subarray(from, from + columns);
};

/** Taylor's series of the error function, for |x| up to 4. */
function erf(x) {
  let [sum, term] = [0, x];
  for (let i = 0; i < 100; i++) {
    sum += term / (2 * i + 1);
    term *= -(x * x) / (i + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

function normalised(row, at, gamma, beta) {
  const mean = row.reduce((sum, item) => sum + item, 0) / row.length;
  const variance = row.reduce((sum, item) => sum + (item - mean) ** 2, 0) / row.length;
  return { value: ((row[at] - mean) / Math.sqrt(variance + EPS)) * gamma[at] + beta[at], error: 1e-5 };
}

const OPERATIONS = [
  {
    name: 'softmax',
    op: 'softmaxRows',
    shapes: [
      [1536, 128],
      [6144, 512],
    ],
    expected: (index, { x }, columns) => {
      const row = rowAround(index, x, columns);
      const max = row.reduce((a, b) => Math.max(a, b));
      const value = Math.exp(x[index] - max) / row.reduce((sum, item) => sum + Math.exp(item - max), 0);
      return { value, error: 1e-5 * value };
    },
  },
  {
    name: 'layer norm',
    op: 'layerNormRows',
    shapes: [
      [128, 768],
      [1024, 768],
    ],
    expected: (index, { x, gamma, beta }, columns) =>
      normalised(rowAround(index, x, columns), index % columns, gamma, beta),
  },
  {
    name: 'GELU',
    op: 'geluRows',
    shapes: [
      [128, 3072],
      [1024, 3072],
    ],
    expected: (index, { x }) => ({
      value: 0.5 * x[index] * (1 + erf(x[index] / Math.SQRT2)),
      error: 2e-6,
    }),
  },
];

/** What a network has between its products: swish, a residual sum and a norm, which nothing keeps apart. */
const CHAIN = {
  name: 'swish, sum, layer norm',
  op: 'chainRows',
  shapes: [
    [128, 768],
    [4096, 768],
  ],
  expected: (index, { x, residual, gamma, beta }, columns) => {
    const before = rowAround(index, residual, columns).map((value, i) => {
      const input = rowAround(index, x, columns)[i];
      return value + input / (1 + Math.exp(-input));
    });
    return normalised(before, index % columns, gamma, beta);
  },
};

function rowProblem({ op, expected }, rows, columns) {
  const inputs = {
    x: random(rows * columns, 1, 4),
    ...(op === 'chainRows' && { residual: random(rows * columns, 3, 4) }),
    ...((op === 'layerNormRows' || op === 'chainRows') && {
      gamma: random(columns, 2),
      beta: constant(columns, 0.5),
    }),
  };
  return problem({
    op,
    rows,
    columns,
    eps: EPS,
    inputs,
    size: rows * columns,
    expected: (index, arrays) => expected(index, arrays, columns),
  });
}

export function* rows() {
  for (const threads of [1, 2]) {
    for (const operation of [...OPERATIONS, CHAIN]) {
      for (const [count, columns] of operation.shapes) {
        yield {
          group,
          name: `${operation.name}/${count}x${columns}`,
          threads,
          unit: 'G values/s',
          work: count * columns,
          problem: rowProblem(operation, count, columns),
          ours: {
            ...(threads > 1 && { 'drivetrain, 1 thread': { threads: 1 } }),
            ...(operation === CHAIN && { 'drivetrain, op by op': { op: 'chainRowsEager' } }),
          },
        };
      }
    }
  }
}
