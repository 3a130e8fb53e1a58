import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DrivetrainError } from '../../dist/native/index.js';
import { METRICS_CONTENT_TYPE, outcomeOf, Registry } from '../../dist/observe/index.js';

describe('the text exposition', () => {
  test('is version 0.0.4', () => {
    expect(METRICS_CONTENT_TYPE).toBe('text/plain; version=0.0.4; charset=utf-8');
  });

  test('writes help, type and a sample for each combination of label values', () => {
    const registry = new Registry();
    const requests = registry.counter('drivetrain_requests_total', 'Requests.', ['model', 'outcome']);
    requests.labels({ model: 'digits', outcome: 'ok' }).inc();
    requests.labels({ outcome: 'ok', model: 'digits' }).inc(2);
    requests.labels({ model: 'words', outcome: 'ok' }).inc(0.5);
    registry.gauge('drivetrain_queue_size_rows', 'Rows.').labels({}).set(-3);
    expect(registry.expose()).toBe(
      [
        '# HELP drivetrain_requests_total Requests.',
        '# TYPE drivetrain_requests_total counter',
        'drivetrain_requests_total{model="digits",outcome="ok"} 3',
        'drivetrain_requests_total{model="words",outcome="ok"} 0.5',
        '# HELP drivetrain_queue_size_rows Rows.',
        '# TYPE drivetrain_queue_size_rows gauge',
        'drivetrain_queue_size_rows -3',
        '',
      ].join('\n'),
    );
  });

  test('writes histograms with cumulative buckets, +Inf, sum and count', () => {
    const registry = new Registry();
    const sizes = registry.histogram('drivetrain_batch_size_rows', 'Rows.', ['batcher'], [1, 2.5]);
    for (const size of [1, 2, 2.5, 7, Number.NaN]) sizes.labels({ batcher: 'a' }).observe(size);
    expect(registry.expose().split('\n').slice(2, -1)).toEqual([
      'drivetrain_batch_size_rows_bucket{batcher="a",le="1"} 1',
      'drivetrain_batch_size_rows_bucket{batcher="a",le="2.5"} 3',
      'drivetrain_batch_size_rows_bucket{batcher="a",le="+Inf"} 5',
      'drivetrain_batch_size_rows_sum{batcher="a"} NaN',
      'drivetrain_batch_size_rows_count{batcher="a"} 5',
    ]);
  });

  test('writes infinities as Prometheus reads them', () => {
    const registry = new Registry();
    const gauge = registry.gauge('drivetrain_x', 'X.', ['sign']);
    gauge.labels({ sign: 'plus' }).set(Number.POSITIVE_INFINITY);
    gauge.labels({ sign: 'minus' }).set(Number.NEGATIVE_INFINITY);
    expect(registry.expose()).toContain('drivetrain_x{sign="plus"} +Inf\ndrivetrain_x{sign="minus"} -Inf\n');
  });

  test('escapes help and label values so that every value stays on its line and comes back', () => {
    const unescaped = (text: string) => text.replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c));
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', '\\', '"', '\n', '{', '}', 'é') }), (value) => {
        const registry = new Registry();
        registry.gauge('drivetrain_x', value, ['label']).labels({ label: value }).set(1);
        const [help, , line, end, ...rest] = registry.expose().split('\n');
        expect(end).toBe('');
        expect(rest).toEqual([]);
        expect(unescaped(help!.slice('# HELP drivetrain_x '.length))).toBe(value);
        const quoted = /^drivetrain_x\{label="((?:[^"\\]|\\.)*)"\} 1$/.exec(line!);
        expect(unescaped(quoted![1]!)).toBe(value);
      }),
    );
  });

  test('asks collectors for their values each time, until they are removed', () => {
    const registry = new Registry();
    const gauge = registry.gauge('drivetrain_memory_bytes', 'Bytes.').labels({});
    let bytes = 1;
    const stop = registry.onCollect(() => gauge.set(bytes));
    expect(registry.expose()).toContain('drivetrain_memory_bytes 1\n');
    bytes = 2;
    expect(registry.expose()).toContain('drivetrain_memory_bytes 2\n');
    stop();
    bytes = 3;
    expect(registry.expose()).toContain('drivetrain_memory_bytes 2\n');
  });
});

describe('a registry', () => {
  test('gives the same family for the same name, type and labels', () => {
    const registry = new Registry();
    registry.counter('drivetrain_a_total', 'A.', ['x']).labels({ x: '1' }).inc();
    registry.counter('drivetrain_a_total', 'A.', ['x']).labels({ x: '1' }).inc();
    expect(registry.expose().match(/# TYPE/g)).toHaveLength(1);
    expect(registry.expose()).toContain('drivetrain_a_total{x="1"} 2');
  });

  test.each<[string, (registry: Registry) => unknown]>([
    ['another type under one name', (r) => [r.counter('drivetrain_a', 'A.'), r.gauge('drivetrain_a', 'A.')]],
    [
      'other labels under one name',
      (r) => [r.counter('drivetrain_a', 'A.'), r.counter('drivetrain_a', 'A.', ['x'])],
    ],
    ['a name with a dash', (r) => r.counter('drivetrain-a', 'A.')],
    ['an empty name', (r) => r.counter('', 'A.')],
    ['a label that begins with two underscores', (r) => r.counter('drivetrain_a', 'A.', ['__x'])],
    ['a label with a dash', (r) => r.counter('drivetrain_a', 'A.', ['x-y'])],
    ['le as a label of a histogram', (r) => r.histogram('drivetrain_a', 'A.', ['le'])],
    ['buckets that do not increase', (r) => r.histogram('drivetrain_a', 'A.', [], [1, 1])],
    ['a missing label', (r) => r.counter('drivetrain_a', 'A.', ['x', 'y']).labels({ x: '1' } as never)],
    ['an unknown label', (r) => r.counter('drivetrain_a', 'A.', ['x']).labels({ y: '1' } as never)],
    ['a counter that shrinks', (r) => r.counter('drivetrain_a', 'A.').labels({}).inc(-1)],
    ['a counter that grows by NaN', (r) => r.counter('drivetrain_a', 'A.').labels({}).inc(Number.NaN)],
  ])('refuses %s', (_, act) => {
    expect(() => act(new Registry())).toThrow(expect.objectContaining({ code: 'DT_INVALID_ARGUMENT' }));
  });
});

test('the outcome of an error is its code, or error', () => {
  expect(outcomeOf(new DrivetrainError('DT_QUEUE_FULL', ''))).toBe('queue_full');
  expect(outcomeOf(new TypeError())).toBe('error');
});
