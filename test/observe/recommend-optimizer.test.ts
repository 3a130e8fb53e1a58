import {
  Adam,
  Adam8bit,
  AdamW,
  AdamW8bit,
  type AdvisedOptimizer,
  LAMB,
  type Optimizer,
  type OptimizerQuery,
  recommendOptimizer,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { failure } from '../program/support.js';

const PLENTY = 1e15;
const PARAMETERS = 100_000;

type Class = new (params: unknown, options: unknown) => Optimizer<{ lr: number }>;
const CLASSES = { Adam, Adam8bit, AdamW, AdamW8bit, LAMB };
const construct = (name: AdvisedOptimizer, options: object) =>
  new (CLASSES[name] as unknown as Class)([zeros([PARAMETERS])], options);

describe('the rule', () => {
  const ideal = (query: OptimizerQuery) => recommendOptimizer({ memory: PLENTY, ...query }).ideal;

  test('over 10⁹ on a GPU: AdamW, sharded, in mixed precision', () => {
    expect(ideal({ parameters: 1e9 + 1, device: 'gpu' })).toMatchObject({
      name: 'AdamW',
      sharded: true,
      mixedPrecision: true,
      stateBytes: 12 * (1e9 + 1),
    });
  });

  test('over 10⁸: LAMB', () => {
    for (const query of [
      { parameters: 1e9 + 1 },
      { parameters: 1e9, device: 'gpu' },
      { parameters: 1e8 + 1 },
    ] as const) {
      expect(ideal(query)).toMatchObject({ name: 'LAMB', sharded: false, mixedPrecision: false });
    }
  });

  test('else Adam', () => {
    for (const device of ['cpu', 'gpu'] as const) {
      for (const parameters of [1, 1e8]) {
        expect(ideal({ parameters, device })).toMatchObject({ name: 'Adam', stateBytes: 8 * parameters });
      }
    }
  });
});

describe('what can be constructed now', () => {
  test('is a class of drivetrain that takes the options and keeps as many bytes of state as it says', () => {
    const seen = new Set<string>();
    // Bytes for each parameter: enough for the method itself, and for 8-bit state.
    for (const memory of [PLENTY, 11]) {
      for (const parameters of [PARAMETERS, 2e8, 2e9]) {
        for (const device of ['cpu', 'gpu'] as const) {
          const advice = recommendOptimizer({
            parameters,
            device,
            memory: Math.min(PLENTY, memory * parameters),
          });
          const optimizer = construct(advice.name, advice.options);
          const state = Object.entries(optimizer.stateDict()).filter(([name]) => !name.endsWith('.step'));
          const bytes = state.reduce((sum, [, { dtype, size }]) => sum + size * (dtype === 'u8' ? 1 : 4), 0);
          const perParameter = advice.stateBytes / parameters;
          expect(bytes / PARAMETERS, advice.name).toBeCloseTo(perParameter, 4);
          expect(advice.bytes / parameters).toBeCloseTo(8 + perParameter, 6);
          expect(advice.fits).toBe(true);
          seen.add(advice.name);
        }
      }
    }
    expect([...seen].sort()).toEqual(['Adam', 'Adam8bit', 'AdamW', 'AdamW8bit', 'LAMB']);
  });

  test('fits the memory wherever something does, with as much state as there is room for', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4e9 }),
        fc.double({ min: 1, max: 20, noNaN: true }),
        fc.constantFrom('cpu' as const, 'gpu' as const),
        (parameters, bytes, device) => {
          const memory = parameters * bytes;
          const advice = recommendOptimizer({ parameters, device, memory });
          if (Math.abs(bytes - 8 - 2.03125) > 1e-6) expect(advice.fits).toBe(bytes > 8 + 2.03125);
          if (advice.fits) expect(advice.bytes).toBeLessThanOrEqual(memory);
          if (bytes >= 16) expect(advice.name).toBe(advice.ideal.name);
          else expect(advice.name).toMatch(/8bit$/);
        },
      ),
    );
  });

  test('says what it is not', () => {
    const reason = (query: OptimizerQuery) => recommendOptimizer({ memory: PLENTY, ...query }).reason;
    expect(reason({ parameters: 2e9, device: 'gpu' })).toContain('neither shards nor runs on a GPU');
    expect(reason({ parameters: 1e6, device: 'gpu' })).toContain('does not run on a GPU');
    expect(reason({ parameters: 1e6 })).not.toContain('GPU');
    expect(reason({ parameters: 2e9, memory: 1e9 })).toContain('more memory');
  });
});

test('what is wrong is refused', async () => {
  for (const query of [
    { parameters: 0 },
    { parameters: 1.5 },
    { parameters: 10, device: 'tpu' },
    { parameters: 10, memory: 0 },
    { parameters: 10, memory: Number.NaN },
    { parameter: 10 },
  ]) {
    await failure('DT_INVALID_ARGUMENT', () => recommendOptimizer(query as never));
  }
});
