import { expect, test } from 'vitest';
import { judge, TARGETS } from '../../bench/targets.mjs';

const row = (name: string, ratios: Record<string, number>, more = {}) => ({
  group: 'gemm-f32',
  name,
  threads: 1,
  unit: 'GFLOP/s',
  better: 'higher',
  ours: 1,
  peers: { OpenBLAS: 1, oneDNN: 1 },
  limit: { name: 'FMA peak', value: 1 },
  ratios,
  wrong: {} as Record<string, string>,
  missing: [] as string[],
  target: null as { against: string; ratio: number } | null,
  met: null as boolean | null,
  ...more,
});

const all = { what: 'all', of: () => true, against: () => ['OpenBLAS', 'oneDNN'], ratio: 1 };

test('the best of several rivals counts, and the worst of several rows', () => {
  const rows = [row('a', { OpenBLAS: 2, oneDNN: 1.5 }), row('b', { OpenBLAS: 0.9, oneDNN: 3 })];
  expect(judge(rows, { targets: [all] })).toEqual([
    { what: 'all', ratio: 1, figure: 0.9, row: 'b, 1 thread', met: false },
  ]);
  expect(rows.map(({ met }) => met)).toEqual([true, false]);
  expect(rows[0]!.target).toEqual({ against: 'OpenBLAS, oneDNN', ratio: 1 });
});

test('of several targets a row shows the one that comes nearest to failing, and meets all or none', () => {
  const rows = [row('a', { OpenBLAS: 2, oneDNN: 2, 'FMA peak': 0.85 })];
  const peak = { what: 'peak', of: () => true, against: () => ['FMA peak'], ratio: 0.9 };
  for (const targets of [
    [all, peak],
    [peak, all],
  ]) {
    const fresh = rows.map((item) => ({ ...item }));
    expect(judge(fresh, { targets }).map(({ met }: { met: boolean | null }) => met)).toEqual(
      targets.map((target) => target === all),
    );
    expect(fresh[0]).toMatchObject({ target: { against: 'FMA peak', ratio: 0.9 }, met: false });
  }
});

test('a mean is judged as a whole, in a row of its own', () => {
  const rows = [row('a', { OpenBLAS: 8 }), row('b', { OpenBLAS: 0.5 })];
  const verdicts = judge(rows, { targets: [{ ...all, mean: true, ratio: 1.4 }] });
  expect(verdicts).toMatchObject([{ figure: 2, met: true }]);
  expect(rows).toHaveLength(3);
  expect(rows[0]).toMatchObject({ target: null, met: null });
  expect(rows[2]).toMatchObject({ name: 'geometric mean', ours: 2, met: true, target: { ratio: 1.4 } });
});

test('nothing is claimed where nobody was there to compare with', () => {
  expect(judge([row('a', {})], { targets: [all] })).toMatchObject([{ figure: null, met: null }]);
  expect(judge([], { targets: [all] })).toMatchObject([{ figure: null, met: null }]);
});

test('a rival on another instruction set does not count', () => {
  const rows = [row('a', { OpenBLAS: 2, oneDNN: 0.5 })];
  expect(judge(rows, { targets: [all], unpinned: ['oneDNN'] })).toMatchObject([{ figure: 2, met: true }]);
});

test('a wrong result of ours meets nothing', () => {
  const rows = [row('a', { OpenBLAS: 2, oneDNN: 2 }, { wrong: { drivetrain: '1 instead of 2' } })];
  expect(judge(rows, { targets: [all] })).toMatchObject([{ figure: 0, met: false }]);
});

test('of the int8 peers only those that are right have to be beaten by a fifth', () => {
  const ratios = { 'drivetrain f32': 2, oneDNN: 0.9, 'onnxruntime-node': 1.3 };
  const peers = { 'drivetrain f32': 1, oneDNN: 1, 'onnxruntime-node': 1 };
  const found = (wrong: Record<string, string>) => {
    const rows = [row('256x256x256', ratios, { group: 'gemm-int8', peers, wrong })];
    return judge(rows, { targets: TARGETS.filter(({ what }) => what.includes('exact')) })[0]!;
  };
  expect(found({})).toMatchObject({ figure: 0.9, met: false });
  expect(found({ oneDNN: 'saturates' })).toMatchObject({ figure: 1.3, met: true });
});
