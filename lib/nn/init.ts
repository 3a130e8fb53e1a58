/**
 * Initial values, written into tensors that are there: `init.kaimingNormal(layer.weight, { generator })`. Names are those of
 * torch.nn.init; each gives its tensor back. f32 or f64.
 */
import { DrivetrainError, inspect } from '../native/index.js';
import {
  add,
  assign,
  checkOneOf,
  fullLike,
  type Generator,
  mul,
  rand,
  randn,
  transient,
} from '../ops/index.js';
import { checkOptions, formatShape, sizeOf, type Tensor, tensor } from '../tensor/index.js';

export interface InitOptions {
  /** Where values come from; the default generator unless given. */
  generator?: Generator;
}

export interface XavierOptions extends InitOptions {
  /** What deviations are multiplied by; 1 unless given. `calculateGain` has those of activations. */
  gain?: number;
}

export interface KaimingOptions extends InitOptions {
  /** Whether the variance of the forward pass is kept, or that of the backward; 'fanIn' unless given. */
  mode?: 'fanIn' | 'fanOut';
  /** What comes after; 'leakyRelu' unless given. */
  nonlinearity?: Nonlinearity;
  /** The negative slope of 'leakyRelu'; 0 unless given. */
  a?: number;
}

/** The same value everywhere. */
export function constant(t: Tensor, value: number): Tensor {
  return write('constant', t, () => fullLike(t, value));
}

export function zeros(t: Tensor): Tensor {
  return constant(t, 0);
}

export function ones(t: Tensor): Tensor {
  return constant(t, 1);
}

/** Uniform on [low, high): [0, 1) unless given. */
export function uniform(t: Tensor, low = 0, high = 1, options: InitOptions = {}): Tensor {
  checkOptions('uniform', options, ['generator']);
  if (!(low <= high && Number.isFinite(high - low))) throw outOfOrder('uniform', low, high);
  return write('uniform', t, () => add(mul(rand(t.shape, sourceOf(t, options)), high - low), low));
}

/** Normal, standard unless given. */
export function normal(t: Tensor, mean = 0, std = 1, options: InitOptions = {}): Tensor {
  checkOptions('normal', options, ['generator']);
  checkDeviation('normal', std);
  return write('normal', t, () => add(mul(randn(t.shape, sourceOf(t, options)), std), mean));
}

/** The least share of the normal distribution that `truncNormal` may be asked for, and the draws that it is judged by. */
const LEAST_SHARE = 0.01;
const JUDGED = 4096;

/** Normal within [low, high] (−2 to 2 unless given): draws outside are drawn again. */
export function truncNormal(
  t: Tensor,
  mean = 0,
  std = 1,
  low = -2,
  high = 2,
  options: InitOptions = {},
): Tensor {
  checkOptions('truncNormal', options, ['generator']);
  checkDeviation('truncNormal', std);
  if (!(low < high)) throw outOfOrder('truncNormal', low, high);
  return write('truncNormal', t, () => {
    const values: number[] = [];
    for (let drawn = 0; values.length < t.size; drawn += JUDGED) {
      if (drawn >= JUDGED && values.length < LEAST_SHARE * drawn) {
        throw new DrivetrainError(
          'DT_INVALID_ARGUMENT',
          `Expected a range for truncNormal that a hundredth of the normal distribution lies in but received ${low} to ${high} for mean ${mean} and deviation ${std}.`,
        );
      }
      const some = add(mul(randn([JUDGED], sourceOf(t, options)), std), mean).toArray() as Float64Array;
      for (const x of some) if (x >= low && x <= high) values.push(x);
    }
    return likeIt(t, values.slice(0, t.size));
  });
}

/** Uniform on ±gain · √(6 / (fanIn + fanOut)). Glorot and Bengio, 2010. */
export function xavierUniform(t: Tensor, options: XavierOptions = {}): Tensor {
  checkOptions('xavierUniform', options, ['gain', 'generator']);
  const { gain = 1, ...source } = options;
  const { fanIn, fanOut } = fansOf('xavierUniform', t);
  const bound = checkGain('xavierUniform', gain) * Math.sqrt(6 / (fanIn + fanOut));
  return uniform(t, -bound, bound, source);
}

/** Normal with deviation gain · √(2 / (fanIn + fanOut)). Glorot and Bengio, 2010. */
export function xavierNormal(t: Tensor, options: XavierOptions = {}): Tensor {
  checkOptions('xavierNormal', options, ['gain', 'generator']);
  const { gain = 1, ...source } = options;
  const { fanIn, fanOut } = fansOf('xavierNormal', t);
  return normal(t, 0, checkGain('xavierNormal', gain) * Math.sqrt(2 / (fanIn + fanOut)), source);
}

/** Uniform on ±gain · √(3 / fan). He et al., arXiv:1502.01852. */
export function kaimingUniform(t: Tensor, options: KaimingOptions = {}): Tensor {
  const deviation = kaiming('kaimingUniform', t, options);
  const bound = Math.sqrt(3) * deviation;
  return uniform(t, -bound, bound, generatorOf(options));
}

/** Normal with deviation gain / √fan. He et al., arXiv:1502.01852. */
export function kaimingNormal(t: Tensor, options: KaimingOptions = {}): Tensor {
  return normal(t, 0, kaiming('kaimingNormal', t, options), generatorOf(options));
}

/**
 * Rows (columns, where there are more rows) of length gain at right angles, over the first dimension and all others
 * together. Saxe et al., arXiv:1312.6120. Its work grows with the cube of the extents.
 */
export function orthogonal(t: Tensor, options: XavierOptions = {}): Tensor {
  checkOptions('orthogonal', options, ['gain', 'generator']);
  const { gain = 1, ...source } = options;
  checkGain('orthogonal', gain);
  checkMatrix('orthogonal', t);
  return write('orthogonal', t, () => {
    const rows = t.shape[0]!;
    const columns = sizeOf(t.shape.slice(1));
    const [count, length] = rows <= columns ? [rows, columns] : [columns, rows];
    const drawn = randn([count, length], { dtype: 'f64', ...source }).toArray() as Float64Array;
    const vectors = orthonormal(drawn, count, length);
    const at = (i: number, j: number) => (rows <= columns ? vectors[i]![j]! : vectors[j]![i]!);
    return likeIt(
      t,
      Array.from({ length: t.size }, (_, i) => gain * at(Math.floor(i / columns), i % columns)),
    );
  });
}

/** Gram and Schmidt, twice: once leaves the roundings of vectors that were nearly alike. */
function orthonormal(drawn: Float64Array, count: number, length: number): Float64Array[] {
  const done: Float64Array[] = [];
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((total, x, i) => total + x * b[i]!, 0);
  for (let i = 0; i < count; i++) {
    const vector = drawn.slice(i * length, (i + 1) * length);
    for (const other of [...done, ...done]) {
      const along = dot(vector, other);
      for (let j = 0; j < length; j++) vector[j]! -= along * other[j]!;
    }
    const norm = Math.sqrt(dot(vector, vector));
    done.push(vector.map((x) => x / norm));
  }
  return done;
}

const GAINS = {
  linear: 1,
  sigmoid: 1,
  tanh: 5 / 3,
  relu: Math.SQRT2,
  selu: 3 / 4,
} as const;

export type Nonlinearity = keyof typeof GAINS | 'leakyRelu';

/** What keeps deviations through an activation, as PyTorch has it; `slope` is that of 'leakyRelu', 0.01 unless given. */
export function calculateGain(nonlinearity: Nonlinearity, slope = 0.01): number {
  if (nonlinearity === 'leakyRelu') return Math.sqrt(2 / (1 + slope ** 2));
  if (Object.hasOwn(GAINS, nonlinearity)) return GAINS[nonlinearity];
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${[...Object.keys(GAINS), 'leakyRelu'].join(', ')} as nonlinearity but received ${inspect(nonlinearity)}.`,
  );
}

function kaiming(operation: string, t: Tensor, options: KaimingOptions): number {
  checkOptions(operation, options, ['mode', 'nonlinearity', 'a', 'generator']);
  const { mode = 'fanIn', nonlinearity = 'leakyRelu', a = 0 } = options;
  const fans = fansOf(operation, t);
  if (!Object.hasOwn(fans, mode)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected 'fanIn' or 'fanOut' as mode of ${operation} but received ${inspect(mode)}.`,
    );
  }
  return checkGain(operation, calculateGain(nonlinearity, a)) / Math.sqrt(fans[mode]);
}

const generatorOf = ({ generator }: InitOptions): InitOptions => (generator ? { generator } : {});

/** How many inputs each output has, and outputs each input, of a weight [out, in, ...window]. */
function fansOf(operation: string, t: Tensor): { fanIn: number; fanOut: number } {
  checkMatrix(operation, t);
  const window = sizeOf(t.shape.slice(2));
  return { fanIn: t.shape[1]! * window, fanOut: t.shape[0]! * window };
}

function write(operation: string, t: Tensor, values: () => Tensor): Tensor {
  checkOneOf(operation, 'tensor', t, ['f32', 'f64']);
  transient(() => assign(t, values()));
  return t;
}

function likeIt(t: Tensor, values: readonly number[]): Tensor {
  return tensor(t.dtype === 'f64' ? Float64Array.from(values) : Float32Array.from(values), {
    shape: t.shape,
  });
}

function sourceOf(t: Tensor, options: InitOptions): { dtype: 'f32' | 'f64'; generator?: Generator } {
  return { dtype: t.dtype as 'f32' | 'f64', ...generatorOf(options) };
}

function checkMatrix(operation: string, t: Tensor): void {
  checkOneOf(operation, 'tensor', t, ['f32', 'f64']);
  if (t.rank >= 2 && t.size > 0) return;
  throw new DrivetrainError(
    'DT_SHAPE_MISMATCH',
    `Expected a weight of at least 2 dimensions, none of them 0, for ${operation} but received ${formatShape(t.shape)}.`,
  );
}

function checkDeviation(operation: string, std: number): void {
  if (std >= 0 && std < Infinity) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a deviation from 0 on for ${operation} but received ${inspect(std)}.`,
  );
}

function checkGain(operation: string, gain: number): number {
  if (Number.isFinite(gain)) return gain;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a finite gain for ${operation} but received ${inspect(gain)}.`,
  );
}

function outOfOrder(operation: string, low: number, high: number): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a range with a low end under its high one for ${operation} but received ${low} to ${high}.`,
  );
}
