import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { add, compile, device, matmul, sum, type Tensor, tensor } from 'drivetrain';
import { afterAll, expect, test } from 'vitest';

const { threads } = device.info();
afterAll(() => device.setThreads(threads));

const matrix = (side: number) =>
  tensor(
    Float32Array.from({ length: side * side }, (_, i) => Math.sin(i)),
    { shape: [side, side] },
  );
const bits = (t: Tensor) => Buffer.from(t.toArray().buffer).toString('base64');

test('device.info() says how many threads there are, and setThreads changes it', () => {
  for (const count of [1, 2, 7, 256]) {
    device.setThreads(count);
    expect(device.info().threads).toBe(count);
  }
});

const hasTaskset = process.platform === 'linux' && spawnSync('taskset', ['--version']).status === 0;

test.skipIf(!hasTaskset)('a process that may use one processor only has one thread', () => {
  const [, allowed] = /^Cpus_allowed_list:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))!;
  const script = "import { device } from 'drivetrain'; console.log(JSON.stringify(device.info()));";
  const node = [process.execPath, '--input-type=module', '-e', script];
  const info = JSON.parse(execFileSync('taskset', ['-c', allowed!, ...node], { encoding: 'utf8' }));
  expect(info).toMatchObject({ threads: 1, processors: 1 });
});

test('a number of threads that makes no sense is refused', () => {
  for (const count of [0, -1, 1.5, 257, Number.NaN, '2' as never]) {
    expect(() => device.setThreads(count)).toThrowError(
      expect.objectContaining({ code: 'DT_INVALID_ARGUMENT' }),
    );
  }
});

test('the bits do not depend on the number of threads', async () => {
  const x = matrix(192);
  const f = compile((a: Tensor) => [matmul(a, a), sum(matmul(add(a, 1), a), { axis: 0 }), sum(a)] as const);
  device.setThreads(1);
  const expected = (await f(x)).map(bits);
  for (const count of [2, 3, 8, 33]) {
    device.setThreads(count);
    expect((await f(x)).map(bits)).toEqual(expected);
    expect(f.runSync(x).map(bits)).toEqual(expected);
  }
});

test('the number of threads may change while runs are under way', async () => {
  const x = matrix(128);
  const f = compile((a: Tensor) => matmul(matmul(a, a), a));
  const expected = bits(f.runSync(x));
  for (let round = 0; round < 30; round++) {
    const runs = Array.from({ length: 10 }, () => f(x));
    device.setThreads(1 + ((round * 5) % 9));
    expect(bits(f.runSync(x))).toBe(expected);
    device.setThreads(1 + ((round * 3) % 4));
    for (const run of runs) {
      const y = await run;
      expect(bits(y)).toBe(expected);
      y.dispose();
    }
  }
});
