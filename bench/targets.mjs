// What we want to reach, and whether a run shows it.
import { geometricMean } from './statistics.mjs';

/** Between two measurements of the same thing in one run. */
const NOISE = 0.03;

const cube = ({ name }) => {
  const [m, n, k] = name.split('x').map(Number);
  return m === n && n === k ? n : undefined;
};
const gemm = (row) => row.group === 'gemm-f32';
/** Elementwise, in one pass over f32: not those that need norms first, nor those with moments of eight bits. */
const isMethod = (row) =>
  row.group === 'optim' &&
  row.name.endsWith('/32M') &&
  row.threads === 2 &&
  !/lamb|lars|8bit|clipped/.test(row.name);
const is8bit = (row) => row.group === 'optim' && /8bit/.test(row.name);
const int8 = (row) => row.group === 'gemm-int8';
const limit = ({ limit }) => (limit ? [limit.name] : []);
const only = (name) => () => [name];
const bestOf = (...names) => names;

/** Other libraries whose results are right. */
const exact = ({ peers, wrong }) =>
  Object.keys(peers).filter((name) => !name.startsWith('drivetrain') && !wrong[name]);

/**
 * Each says of which rows (`of`) how our ratio has to be (`ratio`) to the rivals that `against` names for a row; to the
 * best of them, where there are several. `mean`: the geometric mean of the rows has to be, not each.
 */
export const TARGETS = [
  {
    what: 'f32 product, 1 thread, n ≥ 256: of the FMA peak',
    of: (row) => gemm(row) && row.threads === 1 && cube(row) >= 256,
    against: limit,
    ratio: 0.9,
  },
  {
    what: 'f32 product, 1 thread, n = 64: of the FMA peak',
    of: (row) => gemm(row) && row.threads === 1 && cube(row) === 64,
    against: limit,
    ratio: 0.8,
  },
  {
    what: 'f32 product, 1 thread, n = 16 and 32: the better of OpenBLAS and oneDNN',
    of: (row) => gemm(row) && row.threads === 1 && cube(row) <= 32,
    against: () => bestOf('OpenBLAS', 'oneDNN'),
    ratio: 1,
  },
  {
    what: 'f32 product, 1 thread, geometric mean of all shapes: the better of OpenBLAS and oneDNN',
    of: (row) => gemm(row) && row.threads === 1,
    against: () => bestOf('OpenBLAS', 'oneDNN'),
    ratio: 1,
    mean: true,
  },
  {
    what: 'f32 product, 2 threads, geometric mean of all shapes: the better of OpenBLAS and oneDNN',
    of: (row) => gemm(row) && row.threads === 2,
    against: () => bestOf('OpenBLAS', 'oneDNN'),
    ratio: 1,
    mean: true,
  },
  {
    what: 'f32 product, 2 threads, n ≥ 512: one thread',
    of: (row) => gemm(row) && cube(row) >= 512,
    against: only('drivetrain, 1 thread'),
    ratio: 1.9,
  },
  {
    what: 'f32 product, 2 threads, smaller: never slower than one thread (within noise)',
    of: (row) => gemm(row) && cube(row) < 512,
    against: only('drivetrain, 1 thread'),
    ratio: 1 - NOISE,
  },
  {
    what: 'batches of small f32 products: onnxruntime-node',
    of: (row) => row.group === 'gemm-batched',
    against: only('onnxruntime-node'),
    ratio: 2,
  },
  {
    what: 'batches of small f32 products, 32 cubed, 1 thread: of the FMA peak',
    of: (row) => row.group === 'gemm-batched' && row.threads === 1 && row.name.endsWith('x32x32x32'),
    against: limit,
    ratio: 0.7,
  },
  {
    what: 'int8 product, 1 thread, n ≥ 256: of the loop on registers',
    of: (row) => int8(row) && row.threads === 1 && cube(row) >= 256,
    against: limit,
    ratio: 0.92,
  },
  {
    what: 'int8 product, n ≥ 256: our f32',
    of: (row) => int8(row) && cube(row) >= 256,
    against: only('drivetrain f32'),
    ratio: 1.6,
  },
  {
    what: 'int8 product, n ≥ 256: every peer that is exact',
    of: (row) => int8(row) && cube(row) >= 256,
    against: exact,
    ratio: 1.2,
  },
  {
    what: 'int8 product, n ≥ 256: onnxruntime-node, saturating or not',
    of: (row) => int8(row) && cube(row) >= 256,
    against: only('onnxruntime-node'),
    ratio: 1,
  },
  {
    what: 'int8 product, n ≥ 256: oneDNN, saturating or not',
    of: (row) => int8(row) && cube(row) >= 256,
    against: only('oneDNN'),
    ratio: 0.8,
  },
  {
    what: 'int8 product, one row: the bandwidth of the weights',
    of: (row) => int8(row) && row.name.startsWith('1x') && row.threads === 1,
    against: limit,
    ratio: 1 - NOISE,
  },
  {
    what: 'attention: onnxruntime-node and PyTorch',
    of: (row) => row.group === 'attention',
    against: () => bestOf('onnxruntime-node', 'PyTorch'),
    ratio: 1,
  },
  {
    what: 'softmax, layer norm, GELU and a chain: onnxruntime-node and PyTorch',
    of: (row) => row.group === 'rows',
    against: () => bestOf('onnxruntime-node', 'PyTorch'),
    ratio: 1,
  },
  {
    what: 'AdamW beyond the cache: of the read-modify-write stream',
    of: (row) => row.name === 'adamw/32M',
    against: limit,
    ratio: 0.95,
  },
  {
    what: 'AdamW beyond the cache: PyTorch, not fused',
    of: (row) => row.name === 'adamw/32M',
    against: only('PyTorch'),
    ratio: 5,
  },
  {
    what: 'AdamW beyond the cache: plain JavaScript',
    of: (row) => row.name === 'adamw/32M',
    against: only('JavaScript'),
    ratio: 15,
  },
  {
    what: 'every elementwise method beyond the cache, 2 threads: of the stream for its bytes',
    of: isMethod,
    against: limit,
    ratio: 0.9,
  },
  {
    what: 'every elementwise method beyond the cache, 2 threads: PyTorch, not fused',
    of: isMethod,
    against: only('PyTorch'),
    ratio: 5,
  },
  {
    what: '8-bit AdamW beyond the cache: f32 AdamW',
    of: is8bit,
    against: only('drivetrain AdamW'),
    ratio: 1,
  },
  {
    what: 'AdamW on 1,000 tensors of 1,000: at most 1.3 times one tensor of as many',
    of: (row) => row.name.startsWith('adamw/') && row.name.includes(' of 1000'),
    against: only('drivetrain, one tensor'),
    ratio: 0.77,
  },
  {
    what: 'every elementwise method that PyTorch has, on 1,000 tensors of 1,000: PyTorch',
    of: (row) => row.group === 'optim' && row.name.endsWith(' tensors of 1000'),
    against: only('PyTorch'),
    ratio: 5,
  },
  {
    what: 'AdamW in the cache: of the divider',
    of: (row) => row.name === 'adamw/64K' && row.threads === 1,
    against: limit,
    ratio: 0.9,
  },
  {
    what: 'an eager operation on 8 elements, output given: at most 0.5 µs',
    of: (row) => row.name === 'add/8',
    against: limit,
    ratio: 1,
  },
  {
    what: 'a recorded program of 50 small operations, run synchronously: at most 5 µs',
    of: (row) => row.name === 'program/50',
    against: limit,
    ratio: 1,
  },
  {
    what: 'a recorded program of 50 small operations, awaited: at most 30 µs',
    of: (row) => row.name === 'program/50 awaited',
    against: limit,
    ratio: 1,
  },
  {
    what: 'a training step of the digits network: PyTorch at its best number of threads',
    of: (row) => row.group === 'train' && row.threads === 2 && row.name.startsWith('digits/'),
    against: () => bestOf('PyTorch', 'PyTorch, 1 thread'),
    ratio: 3,
  },
  {
    what: 'the same: TensorFlow.js',
    of: (row) => row.group === 'train' && row.threads === 1 && row.name.startsWith('digits/'),
    against: only('TensorFlow.js'),
    ratio: 40,
  },
  ...[
    [1, 3],
    [8, 3],
    [64, 1.5],
  ].map(([batch, ratio]) => ({
    what: `the digits network, batch ${batch}: onnxruntime-node`,
    of: (row) => row.name === `digits/${batch}` && row.group === 'infer',
    against: only('onnxruntime-node'),
    ratio,
  })),
  {
    what: 'the digits network in INT8, batch 1: onnxruntime-node in f32',
    of: (row) => row.name === 'digits int8/1',
    against: only('onnxruntime-node f32'),
    ratio: 6,
  },
  {
    what: 'an encoder of the shape of MiniLM-L6: onnxruntime-node',
    of: (row) => row.name.startsWith('minilm-l6/'),
    against: only('onnxruntime-node'),
    ratio: 1,
  },
  {
    what: 'the same in INT8: our f32',
    of: (row) => row.name.startsWith('minilm-l6 int8/'),
    against: only('drivetrain f32'),
    ratio: 1.5,
  },
  {
    what: 'the same in INT8: onnxruntime-node in INT8',
    of: (row) => row.name.startsWith('minilm-l6 int8/'),
    against: only('onnxruntime-node'),
    ratio: 1,
  },
  {
    what: 'loading its 91 MB: at most 150 ms',
    of: (row) => row.name === 'load minilm-l6',
    against: limit,
    ratio: 1,
  },
];

/** Our ratio to the best of the rivals, undefined if none of them was measured. */
function figureOf(row, rivals) {
  const ratios = rivals.map((name) => row.ratios[name]).filter((ratio) => ratio !== undefined);
  return ratios.length ? Math.min(...ratios) : undefined;
}

function summaryRow(group, threads, name, against, ratio, figure) {
  return {
    group,
    name,
    threads,
    unit: '×',
    better: 'higher',
    ours: figure,
    peers: {},
    limit: null,
    ratios: { [against]: figure },
    wrong: {},
    missing: [],
    target: { against, ratio },
    met: figure >= ratio,
  };
}

/**
 * Sets `target` and `met` of every row that a target is about: the target that comes nearest to failing, and whether all
 * are met. Appends a row for each mean. Returns the targets with what was found: { what, ratio, figure, row, met }, in
 * which `figure` is that of the worst row, or the mean; null where nothing was measured.
 */
export function judge(rows, { targets = TARGETS, unpinned = /** @type {string[]} */ ([]) } = {}) {
  const summaries = [];
  const verdicts = targets.map(({ what, of, against, ratio, mean }) => {
    const found = [];
    for (const row of rows.filter(of)) {
      const rivals = against(row).filter((name) => !unpinned.some((one) => `${name} `.startsWith(`${one} `)));
      const figure = figureOf(row, rivals);
      if (figure === undefined) continue;
      // A wrong result of ours meets nothing.
      found.push({ row, figure: row.wrong.drivetrain ? 0 : figure, rivals: rivals.join(', ') });
    }
    if (found.length === 0) return { what, ratio, figure: null, row: null, met: null };
    if (mean) {
      const figure = Number(geometricMean(found.map(({ figure }) => figure)).toPrecision(4));
      const { row, rivals } = found[0];
      summaries.push(summaryRow(row.group, row.threads, 'geometric mean', rivals, ratio, figure));
      return { what, ratio, figure, row: null, met: figure >= ratio };
    }
    for (const { row, figure, rivals } of found) {
      const margin = figure / ratio;
      row.met = row.met !== false && margin >= 1;
      if (row.target === null || margin < figureOf(row, row.target.against.split(', ')) / row.target.ratio) {
        row.target = { against: rivals, ratio };
      }
    }
    const worst = found.reduce((a, b) => (b.figure < a.figure ? b : a));
    const { name, threads } = worst.row;
    const row = `${name}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
    return { what, ratio, figure: worst.figure, row, met: worst.figure >= ratio };
  });
  rows.push(...summaries);
  return verdicts;
}
