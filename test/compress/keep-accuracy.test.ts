import { once } from 'node:events';
import { inspect } from 'node:util';
import {
  Linear,
  type Module,
  QuantizedLinear,
  quantizationReport,
  quantize,
  ReLU,
  Sequential,
  tensor,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { refusalOf } from '../ops/support.js';
import { Net, random } from './support.js';

const chain = () => new Sequential(new Linear(4, 5), new ReLU(), new Linear(5, 6), new Linear(6, 3));

/** Which layers a model has in integers. */
const quantizedIn = (model: Module) =>
  (model as Sequential).layers.flatMap((layer, i) =>
    layer instanceof QuantizedLinear ? [`layers.${i}`] : [],
  );

/** Scores 100 less what each quantized layer costs. */
const scoring = (costs: Readonly<Record<string, number>>) => (model: Module) =>
  100 - quantizedIn(model).reduce((sum, name) => sum + costs[name]!, 0);

describe('preserveAccuracy', () => {
  test('quantizes all where that is good enough, without a word', () => {
    const evaluate = scoring({ 'layers.0': 1, 'layers.2': 2, 'layers.3': 2 });
    const small = quantize(chain(), { preserveAccuracy: 0.95, evaluate });
    expect(quantizedIn(small)).toEqual(['layers.0', 'layers.2', 'layers.3']);
  });

  test.each<[string, Record<string, number>, string[]]>([
    ['one layer', { 'layers.0': 1, 'layers.2': 9, 'layers.3': 2 }, ['layers.0', 'layers.3']],
    ['two layers', { 'layers.0': 8, 'layers.2': 4, 'layers.3': 6 }, ['layers.2']],
  ])('keeps %s in f32, the most sensitive first, and says which', async (_, costs, quantized) => {
    const warned = once(process, 'warning') as Promise<[Error & { code?: string }]>;
    const model = chain();
    const small = quantize(model, { preserveAccuracy: 0.95, evaluate: scoring(costs) });
    expect(quantizedIn(small)).toEqual(quantized);
    const [warning] = await warned;
    expect(warning).toMatchObject({ name: 'DrivetrainWarning', code: 'DT_KEPT_F32' });
    for (const name of ['layers.0', 'layers.2', 'layers.3']) {
      expect(warning.message.includes(name)).toBe(!quantized.includes(name));
    }
    expect(warning.message).toContain('100');
    // The report has them too, and the kept ones are the original's.
    const kinds = quantizationReport(model, small, [random(5, 4)]).layers.map(({ name, kind }) => [
      name,
      kind,
    ]);
    expect(Object.fromEntries(kinds)).toEqual(
      Object.fromEntries(
        Object.keys(costs).map((name) => [name, quantized.includes(name) ? 'dynamic' : 'f32']),
      ),
    );
  });

  test('refuses with the figures where one quantized layer is too many', () => {
    const evaluate = scoring({ 'layers.0': 10, 'layers.2': 20, 'layers.3': 30 });
    const refusal = refusalOf(() => quantize(chain(), { preserveAccuracy: 0.95, evaluate }));
    expect(refusal.code).toBe('DT_ACCURACY');
    for (const figure of ['scores 100', 'quantized 40', 'least 95', 'best 90', 'layers.3 70']) {
      expect(refusal.message).toContain(figure);
    }
  });

  test('refuses a model of one layer that falls short', () => {
    const evaluate = (model: Module) => (model instanceof QuantizedLinear ? 0.5 : 1);
    const refusal = refusalOf(() => quantize(new Linear(2, 2), { preserveAccuracy: 0.9, evaluate }));
    expect(refusal.code).toBe('DT_ACCURACY');
  });

  test.each<[string, unknown, string]>([
    ['a promise', Promise.resolve(1), 'a promise'],
    ['a tensor', tensor(0.9), 'score.item()'],
    ['NaN', NaN, 'NaN'],
    ['a negative score', -1, '-1'],
  ])('refuses an evaluate that returns %s', (_, score, part) => {
    const options = { preserveAccuracy: 0.9, evaluate: () => score as number };
    const { code, message } = refusalOf(() => quantize(chain(), options));
    expect(code).toBe('DT_INVALID_ARGUMENT');
    expect(message).toContain(part);
  });
});

describe('the report', () => {
  const net = new Net();
  const inputs = [random(50, 12), random(70, 12)];
  const small = quantize(net, {
    calibration: inputs,
    method: 'percentile',
    percentile: 98,
    exclude: ['blocks.0'],
  });
  const report = quantizationReport(net, small, inputs);

  test('has each layer’s kind, error, range and clipped share', () => {
    expect(report.layers.map(({ name, kind, shape }) => [name, kind, shape])).toEqual([
      ['first', 'static', [32, 12]],
      ['blocks.0', 'f32', [24, 32]],
      ['last', 'static', [4, 24]],
    ]);
    const [first, middle, last] = report.layers;
    expect(middle).toMatchObject({ error: 0, clipped: 0, range: undefined });
    // 2 % at each end of what goes into the first layer, 2 % at one end behind a ReLU.
    expect(first!.clipped).toBeGreaterThan(0.03);
    expect(first!.clipped).toBeLessThan(0.045);
    expect(last!.clipped).toBeGreaterThan(0.01);
    expect(last!.clipped).toBeLessThan(0.025);
    for (const { seen, range, error } of [first!, last!]) {
      expect(error).toBeGreaterThan(0);
      expect(seen[1]).toBeGreaterThan(range![1]);
    }
    expect(report.error).toBeGreaterThan(0);
  });

  test('has the error that plain doubles give', () => {
    const layer = new Linear(3, 2);
    const x = random(8, 3);
    const tiny = quantize(layer);
    const [exact, rounded] = [layer, tiny].map((one) => Array.from(one.forward(x).toArray() as Float32Array));
    const norm = (values: number[]) => Math.hypot(...values);
    const want = norm(exact!.map((value, i) => value - rounded![i]!)) / norm(exact!);
    const { error, layers } = quantizationReport(layer, tiny, [x]);
    expect(error).toBeCloseTo(want, 12);
    expect(layers[0]!.error).toBeCloseTo(want, 12);
  });

  test('prints as a table', () => {
    const lines = inspect(report).split('\n');
    expect(lines[0]).toMatch(/^layer +kind +weight +error +inputs +range +clipped$/);
    expect(lines[2]).toMatch(/^first +static +32 × 12 +\d+\.\d\d % /);
    expect(lines[3]).toMatch(/^blocks\.0 +f32 +24 × 32 +0\.00 % /);
    expect(lines.at(-1)).toMatch(/^error of the output: \d+\.\d\d %$/);
  });

  test('is a picture: well-formed, everything inside of it', () => {
    const svg = report.toSvg();
    const [, width, height] = /viewBox="0 0 (\d+) (\d+)"/.exec(svg)!.map(Number);
    expect(svg.match(/<rect/g)).toHaveLength(4);
    for (const [, x] of svg.matchAll(/ x[12]?="([\d.-]+)"/g)) {
      expect(Number(x)).toBeGreaterThanOrEqual(0);
      expect(Number(x)).toBeLessThanOrEqual(width!);
    }
    for (const [, y] of svg.matchAll(/ y[12]?="([\d.-]+)"/g)) expect(Number(y)).toBeLessThanOrEqual(height!);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });
});
