// From seconds to a row of the results.

/** Rates are better the higher they are, times the lower. */
const UNITS = {
  'GFLOP/s': { better: 'higher', value: (seconds, work) => work / seconds / 1e9 },
  'Gop/s': { better: 'higher', value: (seconds, work) => work / seconds / 1e9 },
  'GB/s': { better: 'higher', value: (seconds, work) => work / seconds / 1e9 },
  'G values/s': { better: 'higher', value: (seconds, work) => work / seconds / 1e9 },
  'G parameters/s': { better: 'higher', value: (seconds, work) => work / seconds / 1e9 },
  µs: { better: 'lower', value: (seconds) => seconds * 1e6 },
};

const round = (value) => Number(value.toPrecision(4));

/**
 * A row from the seconds of everybody for the same work; ratios above 1 mean that ours is better. `limit` is { name,
 * seconds }, `wrong` says by name what was wrong with a result, `missing` names the peers that are not there.
 */
export function resultRow({ group, name, threads, unit, work }, { ours, peers, limit, wrong, missing }) {
  const { better, value } = UNITS[unit];
  const rivals = { ...peers, ...(limit && { [limit.name]: limit.seconds }) };
  const each = (seconds, fn) =>
    Object.fromEntries(Object.entries(seconds).map(([key, time]) => [key, round(fn(time))]));
  return {
    group,
    name,
    threads,
    unit,
    better,
    ours: round(value(ours, work)),
    peers: each(peers, (seconds) => value(seconds, work)),
    limit: limit ? { name: limit.name, value: round(value(limit.seconds, work)) } : null,
    ratios: each(rivals, (seconds) => seconds / ours),
    wrong,
    missing,
    target: null,
    met: null,
  };
}
