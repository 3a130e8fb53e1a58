// How a contestant is timed: in short slices, taken in turns with the others, each after a warm-up.
import { setTimeout as sleep } from 'node:timers/promises';
import { Bench } from 'tinybench';

const QUIET_CHECK_MS = 2;
const QUIET_LIMIT_MS = 200;

/**
 * Waits until no thread of this process burns time: pools of other libraries spin for a while after their last work,
 * which would slow down the next contestant.
 */
async function quiet() {
  for (let waited = 0; waited < QUIET_LIMIT_MS; waited += QUIET_CHECK_MS) {
    const before = process.cpuUsage();
    await sleep(QUIET_CHECK_MS);
    const { user, system } = process.cpuUsage(before);
    if (user + system < QUIET_CHECK_MS * 500) return;
  }
}

/** The median time of a call over about `milliseconds`, in seconds. */
async function timeOf({ run, async = false, calls = 1 }, milliseconds) {
  const bench = new Bench({
    time: milliseconds,
    iterations: 1,
    warmupTime: milliseconds / 4,
    warmupIterations: 1,
    throws: true,
  });
  bench.add('call', run, { async });
  const [{ result }] = await bench.run();
  return result.latency.p50 / 1e3 / calls;
}

/**
 * Takes turns: in every round each contestant is timed for `milliseconds`, in the opposite order every second time, so
 * that a drift of the machine meets all of them alike. Returns for each the seconds a call of its rounds.
 *
 * A contestant has `run`, which is one execution and makes `calls` calls (1 unless given), or `time(milliseconds)`, which
 * gives seconds if it has a clock of its own; `begin` is called before each slice.
 */
export async function takeTurns(contestants, { rounds, milliseconds }) {
  const times = contestants.map(() => []);
  for (let round = 0; round < rounds; round++) {
    const order = contestants.map((_, i) => i);
    for (const i of round % 2 ? order.reverse() : order) {
      const contestant = contestants[i];
      await contestant.begin?.();
      await quiet();
      times[i].push(await (contestant.time ?? ((ms) => timeOf(contestant, ms)))(milliseconds));
    }
  }
  return times;
}
