import { existsSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointManager, type RetentionOptions, zeros } from 'drivetrain';
import { expect, onTestFinished, test, vi } from 'vitest';
import { refusalOf, rejectionOf } from '../../ops/support.js';
import { temporaryFolder } from '../support.js';

const part = { stateDict: () => ({ weight: zeros([4]), epoch: 3 }), loadStateDict: () => {} };
const steps = async (manager: CheckpointManager) => (await manager.list()).map(({ step }) => step);

/** What is left of checkpoints at these steps, with these losses. */
async function leftOf(options: RetentionOptions, losses: readonly number[]): Promise<number[]> {
  const manager = new CheckpointManager(temporaryFolder(), options);
  for (const [step, loss] of losses.entries()) await manager.save({ part }, { step, metrics: { loss } });
  expect(readdirSync(manager.directory)).toHaveLength((await manager.list()).length);
  return steps(manager);
}

test('keeps the newest, every so many, and the best', async () => {
  const losses = [9, 1, 5, NaN, 2, 7, 8, 6];
  expect(await leftOf({}, losses)).toEqual([7, 6, 5]);
  expect(await leftOf({ maxToKeep: 1 }, losses)).toEqual([7]);
  expect(await leftOf({ maxToKeep: Infinity }, losses)).toEqual([7, 6, 5, 4, 3, 2, 1, 0]);
  expect(await leftOf({ maxToKeep: 1, keepPeriod: 3 }, losses)).toEqual([7, 6, 3, 0]);
  expect(await leftOf({ maxToKeep: 1, best: { metric: 'loss' } }, losses)).toEqual([7, 1]);
  expect(await leftOf({ maxToKeep: 1, best: { metric: 'loss', mode: 'max', count: 2 } }, losses)).toEqual([
    7, 6, 0,
  ]);
});

test('a run that goes back to an earlier step goes on from there', async () => {
  const manager = new CheckpointManager(temporaryFolder());
  for (const step of [800, 900, 1000, 100]) await manager.save({ part }, { step });
  expect(await steps(manager)).toEqual([100, 1000, 900]);
  expect((await manager.latest())!.step).toBe(100);
});

test('what is saved stays, also where the clock was set back', async () => {
  const manager = new CheckpointManager(temporaryFolder(), { maxToKeep: 1 });
  const { path } = await manager.save({ part }, { step: 1 });
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 3_600_000 });
  onTestFinished(() => void vi.useRealTimers());
  const later = await manager.save({ part }, { step: 2 });
  expect(existsSync(path)).toBe(true);
  expect(existsSync(later.path)).toBe(true);
});

test('gives the best', async () => {
  const manager = new CheckpointManager(temporaryFolder(), { best: { metric: 'accuracy', mode: 'max' } });
  expect(await manager.best()).toBeUndefined();
  for (const [step, accuracy] of [0.5, 0.9, 0.7].entries()) {
    await manager.save({ part }, { step, metrics: { accuracy } });
  }
  expect((await manager.best())!.step).toBe(1);
  expect((await rejectionOf(new CheckpointManager(manager.directory).best())).code).toBe(
    'DT_INVALID_ARGUMENT',
  );
});

test.each<[string, (path: string) => void]>([
  ['tensors cut off', (path) => truncateSync(join(path, 'part.safetensors'), 10)],
  ['a flipped bit', (path) => writeFileSync(join(path, 'part.safetensors'), Buffer.alloc(4), { flag: 'r+' })],
  ['a manifest cut off', (path) => truncateSync(join(path, 'checkpoint.json'), 40)],
  [
    'an edited manifest',
    (path) => {
      const file = join(path, 'checkpoint.json');
      writeFileSync(file, '{"format":"drivetrain-checkpoint/1","step":9}');
    },
  ],
])('a checkpoint with %s is passed over, with a warning', async (_, damage) => {
  const manager = new CheckpointManager(temporaryFolder());
  await manager.save({ part }, { step: 1 });
  const { path } = await manager.save({ part }, { step: 2 });
  damage(path);
  const warnings: Error[] = [];
  const note = (warning: Error) => warnings.push(warning);
  process.on('warning', note);
  onTestFinished(() => void process.off('warning', note));
  expect((await manager.latest())!.step).toBe(1);
  await new Promise(setImmediate);
  expect(warnings.map((warning) => (warning as Error & { code: string }).code)).toEqual(['DT_CORRUPT_FILE']);
  expect(warnings[0]!.message).toContain(path);
});

test('a damaged checkpoint pushes out no whole one', async () => {
  const manager = new CheckpointManager(temporaryFolder(), { maxToKeep: 2 });
  await manager.save({ part }, { step: 1 });
  const { path } = await manager.save({ part }, { step: 2 });
  truncateSync(join(path, 'part.safetensors'), 10);
  expect((await manager.latest())!.step).toBe(1);
  await manager.save({ part }, { step: 3 });
  expect(await steps(manager)).toEqual([3, 2, 1]);
});

test('an empty directory, or none, has no checkpoint', async () => {
  const manager = new CheckpointManager(join(temporaryFolder(), 'runs', 'first'));
  expect(await manager.latest()).toBeUndefined();
  await manager.save({ part }, { step: 0 });
  expect(await steps(manager)).toEqual([0]);
});

test.each<RetentionOptions>([
  { maxToKeep: 0 },
  { maxToKeep: 1.5 },
  { keepPeriod: -1 },
  { best: { metric: 'loss', mode: 'least' as 'min' } },
  { best: { metric: 'loss', count: 0 } },
])('%o is refused', (options) => {
  expect(refusalOf(() => new CheckpointManager('x', options)).code).toBe('DT_INVALID_ARGUMENT');
});

test('saves that overlap are all kept or removed as retention says, and none is refused', async () => {
  const manager = new CheckpointManager(temporaryFolder(), { maxToKeep: 1 });
  const saved = await Promise.all([1, 2, 3, 4].map((step) => manager.save({ part }, { step })));
  expect(saved.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
  expect((await manager.list()).map(({ step }) => step)).toEqual([4]);
});

test('a directory that cannot be is told as such', async () => {
  for (const wrong of [undefined, '', { directory: 'x' }]) {
    expect(refusalOf(() => new CheckpointManager(wrong as never)).code).toBe('DT_INVALID_ARGUMENT');
  }
  const file = join(temporaryFolder(), 'file');
  writeFileSync(file, '');
  const saving = new CheckpointManager(join(file, 'x')).save({ part }, { step: 1 });
  await expect(saving).rejects.toMatchObject({ code: 'DT_IO' });
});
