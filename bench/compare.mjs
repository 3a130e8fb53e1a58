// One row: prepares everybody who takes part, checks what they compute, and times them in turns.
import { findFault, sampleIndices } from './data.mjs';
import { takeTurns } from './measure.mjs';
import { drivetrain } from './peers/index.mjs';
import { resultRow } from './results.mjs';
import { median } from './statistics.mjs';

/** Everybody for this row: { name, peer, op, threads }, ours first; `ours` and `theirs` of the row name further ones. */
function entries(row, peers) {
  const { op } = row.problem;
  const ours = Object.entries(row.ours ?? {}).map(([name, variant]) => ({
    name,
    peer: drivetrain,
    op: variant.op ?? op,
    threads: variant.threads ?? row.threads,
  }));
  const theirs = Object.entries(row.theirs ?? {}).flatMap(([name, variant]) =>
    peers
      .filter((other) => other.name === variant.peer && other.peer)
      .map((other) => ({
        name,
        peer: other.peer,
        op: variant.op ?? op,
        threads: variant.threads ?? row.threads,
      })),
  );
  const others = peers
    .filter(({ peer }) => peer && row.threads <= (peer.maxThreads ?? Number.POSITIVE_INFINITY))
    .map(({ name, peer }) => ({ name, peer, op, threads: row.threads }));
  const all = [
    { name: drivetrain.name, peer: drivetrain, op, threads: row.threads },
    ...ours,
    ...others,
    ...theirs,
  ];
  return all.filter(({ peer, op }) => peer[op]);
}

/** The contestant, having run once, with what is wrong with its result. */
async function enter({ name, peer, op, threads }, problem) {
  const begin = () => peer.setThreads?.(threads);
  begin();
  const contestant = await peer[op](problem, threads);
  if (contestant === undefined) return undefined;
  await contestant.run();
  const indices = sampleIndices(problem.size);
  const fault = findFault(problem, indices, await contestant.values(indices));
  return { ...contestant, name, begin, fault };
}

/** What is wrong with the results of a probe that only right arithmetic passes, if the row has one. */
async function faultOfProbe(entry, probe) {
  if (probe === undefined || entry.op !== probe.op) return undefined;
  const contestant = await enter(entry, probe);
  await contestant?.dispose?.();
  return contestant?.fault;
}

/** What counts of a limit's rounds, beside ours. */
function limitFigure({ name, paired = false }, rounds, ours) {
  return {
    name,
    paired,
    seconds: paired ? median(rounds) : Math.min(...rounds),
    ratio: paired
      ? median(rounds.map((seconds, i) => seconds / ours[i]))
      : Math.min(...rounds) / median(ours),
  };
}

export async function compareRow(row, peers, pace) {
  const contestants = [];
  const wrong = {};
  for (const entry of entries(row, peers)) {
    try {
      const contestant = await enter(entry, row.problem);
      if (contestant === undefined) continue;
      contestants.push(contestant);
      const fault = contestant.fault ?? (await faultOfProbe(entry, row.probe));
      if (fault) wrong[entry.name] = fault;
    } catch (error) {
      if (entry.name === drivetrain.name) throw error;
      wrong[entry.name] = error.message.split('\n')[0];
    }
  }
  const limit = row.limit?.();
  // The limit next to ours, in either order.
  const turns = limit ? [contestants[0], limit, ...contestants.slice(1)] : contestants;
  const times = await takeTurns(turns, { ...pace, ...row.pace });
  const [limitRounds] = limit ? times.splice(1, 1) : [];
  for (const contestant of contestants) await contestant.dispose?.();
  row.problem.release();
  const [ours, ...others] = contestants.map(({ name }, i) => [name, median(times[i])]);
  return resultRow(row, {
    ours: ours[1],
    peers: Object.fromEntries(others),
    limit: limit && limitFigure(limit, limitRounds, times[0]),
    wrong,
    missing: peers.filter(({ missing }) => missing).map(({ name }) => name),
  });
}
