import { inspect } from '../native/index.js';
import type { Module } from '../nn/index.js';
import { Linear } from '../nn/index.js';
import type { Tensor } from '../tensor/index.js';
import { type Inputs, watchLayers } from './calibrate.js';
import { layersOf } from './layers-of.js';
import { QuantizedWeight } from './quantized-weight.js';
import { reportSvg } from './report-svg.js';
import { StaticQuantizedLinear } from './static-quantized-linear.js';
import { isExactly, namedModules } from './submodules.js';

/** What became of one layer. */
export interface LayerReport {
  readonly name: string;
  /** Activations by one range, by row, or nothing quantized. */
  readonly kind: 'static' | 'dynamic' | 'f32';
  /** [out, in] */
  readonly shape: readonly number[];
  /** ‖quantized − original‖ / ‖original‖ of the layer's outputs for the original model's inputs of it. */
  readonly error: number;
  /** The least and the largest input that was met. */
  readonly seen: readonly [low: number, high: number];
  /** What the integers of the input can stand for; undefined where each row has a range of its own, or none is needed. */
  readonly range: readonly [low: number, high: number] | undefined;
  /** The share of the inputs that lie outside of the range, by more than half of a step. */
  readonly clipped: number;
}

/** What quantization costs, layer by layer: as data, as a table where it is printed, and as a picture. */
export class QuantizationReport {
  readonly layers: readonly LayerReport[];
  /** ‖quantized − original‖ / ‖original‖ of the models' outputs. */
  readonly error: number;

  constructor(layers: readonly LayerReport[], error: number) {
    this.layers = layers;
    this.error = error;
  }

  /** Error, range and clipped share of every layer as an SVG document. */
  toSvg(): string {
    return reportSvg(this.layers);
  }

  toString(): string {
    const rows = this.layers.map(({ name, kind, shape, error, seen, range, clipped }) => [
      name === '' ? '(model)' : name,
      kind,
      shape.join(' × '),
      `${(100 * error).toFixed(2)} %`,
      interval(seen),
      range === undefined ? (kind === 'f32' ? '' : 'by row') : interval(range),
      kind === 'static' ? `${(100 * clipped).toFixed(2)} %` : '',
    ]);
    const head = ['layer', 'kind', 'weight', 'error', 'inputs', 'range', 'clipped'];
    const widths = head.map((title, i) =>
      Math.max(...[head, ...rows].map((row) => row[i]!.length), title.length),
    );
    const line = (row: readonly string[]) =>
      row
        .map((cell, i) => (i === 3 || i === 6 ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
        .join('  ')
        .trimEnd();
    const rule = widths.map((width) => '─'.repeat(width)).join('  ');
    return [
      line(head),
      rule,
      ...rows.map(line),
      '',
      `error of the output: ${(100 * this.error).toFixed(2)} %`,
    ].join('\n');
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/**
 * Compares a model with what `quantize` made of it, on inputs like those to come: each layer by itself, given what the
 * original gives it, and the outputs of both.
 */
export function quantizationReport(original: Module, quantized: Module, inputs: Inputs): QuantizationReport {
  const layers = layersOf('quantizationReport', original, [], (module): module is Linear =>
    isExactly(module, Linear),
  );
  const counterparts = namedModules(quantized);
  const found = new Map(
    [...layers].map(([name, layer]) => [name, new LayerMeasure(name, layer, counterparts.get(name))]),
  );
  const whole = new ErrorSum();
  watchLayers(
    'quantizationReport',
    original,
    layers,
    inputs,
    (name, x, y) => found.get(name)!.add(x, y),
    (given, y) => whole.add(y, quantized.forward(...given)),
  );
  return new QuantizationReport(
    [...found.values()].map((measure) => measure.report()),
    whole.relative,
  );
}

/** The norms of a difference and of what it is a difference from, over many tensors. */
class ErrorSum {
  #difference = 0;
  #size = 0;

  add(exact: Tensor, rounded: Tensor): void {
    const [a, b] = [exact.toArray() as Float32Array, rounded.toArray() as Float32Array];
    for (let i = 0; i < a.length; i++) {
      this.#difference += (a[i]! - b[i]!) ** 2;
      this.#size += a[i]! ** 2;
    }
  }

  get relative(): number {
    return this.#difference === 0 ? 0 : Math.sqrt(this.#difference / this.#size);
  }
}

class LayerMeasure {
  readonly #name: string;
  readonly #shape: readonly number[];
  readonly #small: QuantizedWeight | undefined;
  readonly #range: readonly [number, number] | undefined;
  readonly #error = new ErrorSum();
  #low = Infinity;
  #high = -Infinity;
  #count = 0;
  #clipped = 0;

  constructor(name: string, layer: Linear, counterpart: Module | undefined) {
    this.#name = name;
    this.#shape = layer.weight.shape;
    this.#small = counterpart instanceof QuantizedWeight ? counterpart : undefined;
    if (counterpart instanceof StaticQuantizedLinear) this.#range = counterpart.inputRange;
  }

  add(x: Tensor, y: Tensor): void {
    if (this.#small !== undefined) this.#error.add(y, this.#small.forward(x));
    const [first, last] = this.#range ?? [-Infinity, Infinity];
    const half = (last - first) / 510;
    const [low, high] = [first - half, last + half];
    for (const value of x.toArray() as Float32Array) {
      if (value < this.#low) this.#low = value;
      if (value > this.#high) this.#high = value;
      if (value < low || value > high) this.#clipped++;
      this.#count++;
    }
  }

  report(): LayerReport {
    return {
      name: this.#name,
      kind: this.#range !== undefined ? 'static' : this.#small !== undefined ? 'dynamic' : 'f32',
      shape: this.#shape,
      error: this.#error.relative,
      seen: [this.#low, this.#high],
      range: this.#range,
      clipped: this.#count === 0 ? 0 : this.#clipped / this.#count,
    };
  }
}

function interval([low, high]: readonly [number, number]): string {
  return `${low.toPrecision(3)} … ${high.toPrecision(3)}`;
}
