import { expect, test } from 'vitest';
import { resultRow, shareLimits } from '../../bench/results.mjs';
import { groupTable, targetTable, wrongResults } from '../../bench/table.mjs';

const head = { group: 'gemm-f32', name: '100x100x100', threads: 1, unit: 'GFLOP/s', work: 2e6 };

const measured = {
  ours: 2e-5,
  peers: { OpenBLAS: 4e-5, oneDNN: 1e-5 },
  limit: { name: 'FMA peak', seconds: 1.6e-5, ratio: 0.8, paired: false },
  wrong: {},
  missing: ['PyTorch'],
};

test('a row has values in its unit, and ratios above 1 where ours is better', () => {
  expect(resultRow(head, measured)).toEqual({
    group: 'gemm-f32',
    name: '100x100x100',
    threads: 1,
    unit: 'GFLOP/s',
    better: 'higher',
    ours: 100,
    peers: { OpenBLAS: 50, oneDNN: 200 },
    limit: { name: 'FMA peak', value: 125, paired: false },
    ratios: { OpenBLAS: 2, oneDNN: 0.5, 'FMA peak': 0.8 },
    wrong: {},
    missing: ['PyTorch'],
    target: null,
    met: null,
  });
});

test('times are better the lower they are, with the same sense of a ratio', () => {
  const row = resultRow(
    { group: 'call', name: 'add/8', threads: 1, unit: 'µs', work: 1 },
    { ours: 5e-7, peers: { OpenBLAS: 1e-6 }, limit: undefined, wrong: {}, missing: [] },
  );
  expect(row).toMatchObject({ better: 'lower', ours: 0.5, peers: { OpenBLAS: 1 }, ratios: { OpenBLAS: 2 } });
  expect(row.limit).toBeNull();
});

test('a limit is the best that was seen of it with as many threads', () => {
  const limited = (threads: number, seconds: number, name = 'FMA peak') =>
    resultRow({ ...head, threads }, { ...measured, limit: { ...measured.limit, name, seconds } });
  const rows = [limited(2, 1.6e-5), limited(2, 8e-6), limited(1, 1.6e-5), limited(2, 4e-6, 'read stream')];
  shareLimits(rows);
  expect(rows.map(({ limit }) => limit?.value)).toEqual([250, 250, 125, 500]);
  expect(rows.map(({ ratios, limit }) => ratios[limit!.name])).toEqual([0.4, 0.4, 0.8, 0.2]);
  expect(rows[0]!.ratios.OpenBLAS).toBe(2);

  const time = { group: 'call', name: 'add/8', threads: 1, unit: 'µs', work: 1 };
  const calls = [4e-7, 2e-7].map((seconds) =>
    resultRow(time, {
      ours: 5e-7,
      peers: {},
      limit: { ...measured.limit, name: 'call', seconds },
      wrong: {},
      missing: [],
    }),
  );
  calls.push(resultRow(time, { ours: 5e-7, peers: {}, limit: undefined, wrong: {}, missing: [] }));
  shareLimits(calls);
  expect(calls.map(({ limit }) => limit?.value)).toEqual([0.2, 0.2, undefined]);
  expect(calls.map(({ ratios }) => ratios)).toEqual([{ call: 0.4 }, { call: 0.4 }, {}]);
});

test('what varies with the machine is compared by turns alone', () => {
  const limit = { name: 'read stream', seconds: 1e-5, ratio: 0.9, paired: true };
  const rows = [limit, { ...limit, seconds: 1e-6, ratio: 0.95 }].map((each) =>
    resultRow(head, { ...measured, limit: each }),
  );
  shareLimits(rows);
  expect(rows.map(({ limit, ratios }) => [limit!.value, ratios[limit!.name]])).toEqual([
    [200, 0.9],
    [2000, 0.95],
  ]);
});

test('a row survives JSON as it is', () => {
  const row = resultRow(head, measured);
  expect(JSON.parse(JSON.stringify(row))).toEqual(row);
});

test('the table names who is missing, who was wrong, and who did not take part', () => {
  const wrong = { oneDNN: '0 instead of 1 at 0', PyTorch: 'RuntimeError' };
  const rows = [
    resultRow(head, measured),
    resultRow({ ...head, name: 'other' }, { ...measured, peers: { oneDNN: 1e-5 }, wrong, missing: [] }),
  ];
  const [, names, first, second] = groupTable(rows).split('\n');
  expect(names).toMatch(/threads +drivetrain +of limit +OpenBLAS +oneDNN +PyTorch/);
  expect(first).toMatch(/100x100x100 +1 +100 GFLOP\/s +80 % +2\.00 × +0\.500 × +missing/);
  expect(second).toMatch(/other +1 +100 GFLOP\/s +80 % +– +0\.500 × wrong +wrong/);
  expect(wrongResults(rows)).toContain('oneDNN, gemm-f32 other, threads 1: 0 instead of 1 at 0');
  expect(wrongResults(rows.slice(0, 1))).toBe('');
});

test('the list of targets says met, not met, or not measured', () => {
  const verdict = { what: 'it', ratio: 1, figure: 1.2, row: 'r', met: true };
  const text = targetTable([
    verdict,
    { ...verdict, figure: 0.9, met: false },
    { ...verdict, figure: null, row: null, met: null },
  ]);
  const lines = text.split('\n').slice(2);
  expect(lines.map((line) => /NOT MET|not measured|met/.exec(line)?.[0])).toEqual([
    'met',
    'NOT MET',
    'not measured',
  ]);
});
