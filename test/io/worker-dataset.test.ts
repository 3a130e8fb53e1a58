import { execFileSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataLoader, type Tensor, WorkerDataset } from 'drivetrain';
import { expect, onTestFinished, test } from 'vitest';
import { processLimit } from '../process-limit.js';
import { rejectionOf, temporaryFolder } from './support.js';

const MODULE = new URL('fixtures/dataset.mjs', import.meta.url);

async function open<B>(kind: string, workers = 2, argument?: unknown): Promise<WorkerDataset<B>> {
  const dataset = await WorkerDataset.open<B>(MODULE, { workers, data: { kind, argument } });
  onTestFinished(() => dataset.close());
  return dataset;
}

async function drain<B>(batches: AsyncIterable<B>): Promise<B[]> {
  const all: B[] = [];
  for await (const batch of batches) all.push(batch);
  return all;
}

/** Ports that keep the process, and where that can be counted the threads of it. */
function held(): number {
  const ports = process.getActiveResourcesInfo().filter((name) => name === 'MessagePort').length;
  return process.platform === 'linux' ? ports + readdirSync('/proc/self/task').length : ports;
}

test('batches are the same, in the same order, whatever the number of workers', async () => {
  type Batch = { x: Tensor; label: Tensor; text: string[] };
  const all: unknown[] = [];
  for (const workers of [1, 2, 3]) {
    const dataset = await open<Batch>('samples', workers, 23);
    const loader = new DataLoader(dataset, { batchSize: 4, shuffle: true, seed: 2, prefetch: 5 });
    const batches = [...(await drain(loader)), ...(await drain(loader))];
    all.push(
      batches.map(({ x, label, text }) => [x.dtype, x.shape, [...x.toArray()], [...label.toArray()], text]),
    );
  }
  expect(all[1]).toEqual(all[0]);
  expect(all[2]).toEqual(all[0]);
  const [[dtype, shape, x, labels, texts]] = all[0] as [[string, number[], number[], bigint[], string[]]];
  expect([dtype, shape]).toEqual(['f32', [4, 2]]);
  labels.forEach((label, i) => {
    expect([x[2 * i], x[2 * i + 1], texts[i]]).toEqual([
      Number(label),
      Number(label) + 0.5,
      `sample ${label}`,
    ]);
  });
});

test('several workers are at work, tensors come from anywhere in a batch, in any dtype', async () => {
  type Batch = [Tensor, { names: Tensor; raw: Uint32Array }, number];
  const dataset = await open<Batch>('batches', 3);
  const batches = await Promise.all([0, 2, 4].map((i) => dataset.batch(Uint32Array.of(i, i + 1))));
  batches.forEach(([rows, { names, raw }], i) => {
    expect([...rows.toArray()]).toEqual([2 * i, -2 * i, 2 * i + 1, -2 * i - 1]);
    expect(rows.shape).toEqual([2, 2]);
    expect([names.item(), [...raw]]).toEqual([2, [2 * i, 2 * i + 1]]);
  });
  expect(new Set(batches.map(([, , thread]) => thread)).size).toBe(3);
  const half = await (await open<Tensor>('halves')).batch(Uint32Array.of(0));
  expect(half.toJSON()).toEqual({ dtype: 'bf16', shape: [2], data: [1, 2] });
});

test('errors of a sample come with name, message, stack and code, and the workers go on', async () => {
  const dataset = await open<Tensor>('throws');
  const error = (await dataset.batch(Uint32Array.of(2)).catch((caught) => caught)) as Error;
  expect(error).toMatchObject({ name: 'RangeError', message: 'sample 2 is spoilt' });
  expect(error.stack).toContain('fixtures/dataset.mjs');
  const ours = await rejectionOf(dataset.batch(Uint32Array.of(3)));
  expect([ours.code, ours.message]).toEqual(['DT_CORRUPT_FILE', 'sample 3 is spoilt']);
  expect(ours.stack).toContain('fixtures/dataset.mjs');
  expect((await dataset.batch(Uint32Array.of(1))).item()).toBe(1);
  const uncloneable = await open('uncloneable');
  await expect(uncloneable.batch(Uint32Array.of(0))).rejects.toThrow(/could not be cloned/);
});

test('a worker that ends or crashes fails what was asked and whatever comes, and ends the others', async () => {
  await (await open('samples', 1, 1)).close(); // what starts with the first stays
  const before = held();
  for (const [kind, expected] of [
    ['exits', /ended by itself with exit code 3/],
    ['crashes', /crashed outside of a batch/],
  ] as const) {
    const dataset = await open<number>(kind);
    expect(await dataset.batch(Uint32Array.of(1))).toBe(1);
    const waiting = [2, 3, 2].map((i) => dataset.batch(Uint32Array.of(i)).catch((error) => error));
    expect(((await waiting[0]) as Error).message).toMatch(expected);
    await expect(dataset.batch(Uint32Array.of(1))).rejects.toThrow(expected);
    await Promise.all(waiting);
    await dataset.close();
  }
  await expect.poll(held).toBeLessThanOrEqual(before);
});

test('closing ends what was asked, and the workers', async () => {
  await (await open('samples', 1, 1)).close(); // what starts with the first stays
  const before = held();
  const dataset = await open('never');
  const waiting = [0, 1, 2].map((i) => rejectionOf(dataset.batch(Uint32Array.of(i))));
  expect(held()).toBeGreaterThan(before);
  await dataset.close();
  for (const { code } of await Promise.all(waiting)) expect(code).toBe('DT_CLOSED');
  expect((await rejectionOf(dataset.batch(Uint32Array.of(0)))).code).toBe('DT_CLOSED');
  await dataset.close();
  await expect.poll(held).toBeLessThanOrEqual(before);
});

test('what cannot be opened is refused, and leaves no worker', async () => {
  await (await open('samples', 1, 1)).close(); // what starts with the first stays
  const before = held();
  await expect(open('fails')).rejects.toThrow('no such data');
  await expect(open('missing')).rejects.toThrow('as dataset');
  await expect(open('random')).rejects.toThrow('of one length in all workers');
  await expect(open('samples', 2, 'many')).rejects.toThrow('length of the dataset');
  const nowhere = new URL('none.mjs', import.meta.url);
  await expect(WorkerDataset.open(nowhere, { workers: 1 })).rejects.toThrow(/none\.mjs/);
  expect((await rejectionOf(WorkerDataset.open(MODULE, { workers: 0 }))).code).toBe('DT_INVALID_ARGUMENT');
  expect((await rejectionOf(WorkerDataset.open(MODULE, { worker: 1 } as never))).code).toBe(
    'DT_INVALID_ARGUMENT',
  );
  await expect.poll(held).toBeLessThanOrEqual(before);
});

test('workers that nobody closed do not hold the process, and those at work do', () => {
  const script = join(temporaryFolder(), 'forgotten.mjs');
  writeFileSync(
    script,
    `import { WorkerDataset } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
     const dataset = await WorkerDataset.open(${JSON.stringify(MODULE.href)}, { workers: 2, data: { kind: 'samples', argument: 5 } });
     dataset.batch(Uint32Array.of(4)).then(({ text }) => console.log(text[0]));`,
  );
  expect(execFileSync(process.execPath, [script], { encoding: 'utf8', timeout: processLimit() })).toBe(
    'sample 4\n',
  );
});
