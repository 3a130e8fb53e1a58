// From seconds to a row of the results.

/** Rates are better the higher they are, times the lower. */
const UNITS = {
  'GFLOP/s': { better: 'higher', value: (seconds, work) => work / seconds / 1e9 },
  'Gop/s': { better: 'higher', value: (seconds, work) => work / seconds / 1e9 },
  'GB/s': { better: 'higher', value: (seconds, work) => work / seconds / 1e9 },
  'G values/s': { better: 'higher', value: (seconds, work) => work / seconds / 1e9 },
  'G parameters/s': { better: 'higher', value: (seconds, work) => work / seconds / 1e9 },
  ms: { better: 'lower', value: (seconds) => seconds * 1e3 },
  µs: { better: 'lower', value: (seconds) => seconds * 1e6 },
};

const round = (value) => Number(value.toPrecision(4));

/**
 * A row from the seconds of everybody for the same work; ratios above 1 mean that ours is better. `limit` is { name,
 * paired, seconds, ratio }, `wrong` says by name what was wrong with a result, `missing` names the peers that are not there.
 */
export function resultRow({ group, name, threads, unit, work }, { ours, peers, limit, wrong, missing }) {
  const { better, value } = UNITS[unit];
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
    limit: limit
      ? { name: limit.name, value: round(value(limit.seconds, work)), paired: limit.paired }
      : null,
    ratios: {
      ...each(peers, (seconds) => seconds / ours),
      ...(limit && { [limit.name]: round(limit.ratio) }),
    },
    wrong,
    missing,
    target: null,
    met: null,
  };
}

/**
 * A limit is the best that the machine did: gives all rows whose limit has one name, for as many threads, the best value
 * among them, but for paired ones. Some are measured while another guest has the second processor.
 */
export function shareLimits(rows) {
  const limited = rows.filter(({ limit }) => limit && !limit.paired);
  const best = new Map();
  const key = ({ limit, threads }) => `${limit.name}, ${threads}`;
  for (const row of limited) {
    const pick = row.better === 'higher' ? Math.max : Math.min;
    best.set(key(row), pick(row.limit.value, best.get(key(row)) ?? row.limit.value));
  }
  for (const row of limited) {
    const value = best.get(key(row));
    row.limit.value = value;
    row.ratios[row.limit.name] = round(row.better === 'higher' ? row.ours / value : value / row.ours);
  }
}
