import { DrivetrainError } from '../native/index.js';
import { type Linear, linearOf, type Module } from '../nn/index.js';
import { transient } from '../ops/index.js';
import { checkOptions, tensor } from '../tensor/index.js';
import { type Inputs, observeRanges } from './calibrate.js';
import { FakeQuantizedLinear } from './fake-quantized-linear.js';
import { keepAccuracy } from './keep-accuracy.js';
import { isQuantizable, layersOf, type Quantizable } from './layers-of.js';
import { QuantizedLinear } from './quantized-linear.js';
import type { QuantizedWeight } from './quantized-weight.js';
import type { CalibrationMethod, Range } from './range-observer.js';
import { StaticQuantizedLinear } from './static-quantized-linear.js';
import { namedModules, replaceModules } from './submodules.js';

export interface QuantizeOptions<M extends Module = Module> {
  /**
   * Inputs like those to come: activations are then quantized by one range, found here, for all rows of a layer's input.
   * Without, each row has a range of its own, found as it comes.
   */
  calibration?: Inputs;
  /**
   * How a range is taken from what was seen: all of it (`min-max`, the default), without the farthest values at each end
   * (`percentile`), or so that the mean squared error is least (`mse`).
   */
  method?: CalibrationMethod;
  /** Per cent of the values that lie within each end of the range, for `percentile`; 99.99 unless given. */
  percentile?: number;
  /** Layers that stay in f32, by name: `layers.0`. */
  exclude?: readonly string[];
  /** The share of the original's `evaluate` that has to remain, in (0, 1]. */
  preserveAccuracy?: number;
  /** How good a model is, from 0 on, more being better. Called up to twice for each layer. */
  evaluate?: (model: M) => number;
}

const METHODS: readonly CalibrationMethod[] = ['min-max', 'percentile', 'mse'];

/**
 * A copy of a model for inference in which every `Linear` has INT8 weights, by a scale per output channel. Activations are
 * quantized per row as they come, or per layer by `calibration`; layers from `prepareQat` by the ranges that they learned.
 * Takes any module; other layers are shared with the original.
 *
 * With `preserveAccuracy`, where quantizing all falls short, layers stay in f32, the most sensitive first, until it does
 * not; a warning (`DT_KEPT_F32`) names them. Throws `DT_ACCURACY` with the figures where one quantized layer is too many.
 */
export function quantize(model: Linear, options?: QuantizeOptions): Module;
export function quantize<M extends Module>(model: M, options?: QuantizeOptions<M>): M;
export function quantize(model: Module, options: QuantizeOptions = {}): Module {
  checkOptions('quantize', options, [
    'calibration',
    'method',
    'percentile',
    'exclude',
    'preserveAccuracy',
    'evaluate',
  ]);
  const { exclude = [], preserveAccuracy, evaluate } = options;
  checkCalibration(options);
  checkAccuracy(preserveAccuracy, evaluate);
  const layers = layersOf('quantize', model, exclude, isQuantizable);
  const ranges = rangesOf(model, layers, options);
  const small = new Map([...layers].map(([name, layer]) => [name, quantized(layer, ranges.get(name))]));
  const trained = [...namedModules(model)].filter(([, layer]) => layer instanceof FakeQuantizedLinear);
  const plain = trained.map(([name, layer]): [string, Module] => {
    const { weight, bias } = layer as FakeQuantizedLinear;
    return [name, linearOf(weight, bias)];
  });
  const build = (kept: ReadonlySet<string>) =>
    replaceModules(model, new Map([...plain, ...[...small].filter(([name]) => !kept.has(name))]));
  if (preserveAccuracy === undefined) return build(new Set());
  let kept: ReadonlySet<string> = new Set(small.keys());
  try {
    kept = keepAccuracy([...small.keys()], build, preserveAccuracy, evaluate!);
    return build(kept);
  } finally {
    for (const name of kept) small.get(name)!.dispose();
  }
}

/** The ranges of the layers that have one: learned, or found in the calibration. */
function rangesOf(
  model: Module,
  layers: ReadonlyMap<string, Quantizable>,
  { calibration, method = 'min-max', percentile = 99.99 }: QuantizeOptions,
): Map<string, Range> {
  const ranges = new Map<string, Range>();
  for (const [name, layer] of layers) {
    if (!(layer instanceof FakeQuantizedLinear)) continue;
    const [low, high] = layer.range.toArray() as Float32Array;
    if (!(Math.abs(low!) < Infinity && Math.abs(high!) < Infinity)) {
      throw invalid(
        `a finite range of inputs of ${name === '' ? 'the layer' : name}, learned in at least one batch,`,
        `[${low}, ${high}]`,
      );
    }
    ranges.set(name, [low!, high!]);
  }
  if (calibration === undefined) return ranges;
  const open = new Map([...layers].filter(([name]) => !ranges.has(name)));
  if (open.size === 0) throw invalid('no calibration for layers that have learned their ranges', 'one');
  for (const [name, observer] of observeRanges(model, open, calibration)) {
    ranges.set(name, observer.range(method, percentile));
  }
  return ranges;
}

function quantized({ weight, bias }: Quantizable, range: Range | undefined): QuantizedWeight {
  if (range === undefined) return QuantizedLinear.from(weight, bias);
  return transient(() => StaticQuantizedLinear.from(weight, tensor([...range]), bias));
}

function checkCalibration({ calibration, method, percentile }: QuantizeOptions): void {
  if (method !== undefined && !METHODS.includes(method)) {
    throw invalid(`${METHODS.join(' or ')} as method`, String(method));
  }
  if (percentile !== undefined && !(percentile > 50 && percentile <= 100)) {
    throw invalid('percentile above 50, at most 100,', String(percentile));
  }
  if (percentile !== undefined && method !== 'percentile') {
    throw invalid("method 'percentile' where percentile is given", String(method));
  }
  if (method !== undefined && calibration === undefined)
    throw invalid('calibration where method is given', 'none');
}

function checkAccuracy(share: number | undefined, evaluate: unknown): void {
  if (share === undefined && evaluate === undefined) return;
  if (!(typeof share === 'number' && share > 0 && share <= 1) || typeof evaluate !== 'function') {
    throw invalid(
      'preserveAccuracy in (0, 1] together with a function evaluate',
      `${share} and ${typeof evaluate}`,
    );
  }
}

function invalid(expected: string, received: string): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for quantize but received ${received}.`,
  );
}
