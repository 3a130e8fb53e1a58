// How a contestant is timed: in short slices, taken in turns with the others, each after a warm-up.
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Bench } from 'tinybench';

const QUIET_CHECK_MS = 2;
const QUIET_LIMIT_MS = 200;

/** Processes of contestants. */
const others = new Set();

/** Names a process that works for a contestant, so that its threads are waited for as well. */
export const watchProcess = (pid) => others.add(pid);

/** Milliseconds that the threads of another process have burnt; 0 where the system does not tell. */
function burntBy(pid) {
  try {
    const tasks = `/proc/${pid}/task`;
    const nanoseconds = readdirSync(tasks).map((task) =>
      Number(readFileSync(`${tasks}/${task}/schedstat`, 'utf8').split(' ')[0]),
    );
    return nanoseconds.reduce((sum, value) => sum + value, 0) / 1e6;
  } catch {
    return 0;
  }
}

function burnt() {
  const { user, system } = process.cpuUsage();
  return [...others].reduce((sum, pid) => sum + burntBy(pid), (user + system) / 1e3);
}

/**
 * Waits until no thread of this process, or of another contestant's, burns time: pools of other libraries spin for a while
 * after their last work, which would slow down the next contestant.
 */
async function quiet() {
  for (let waited = 0; waited < QUIET_LIMIT_MS; waited += QUIET_CHECK_MS) {
    const before = burnt();
    await sleep(QUIET_CHECK_MS);
    if (burnt() - before < QUIET_CHECK_MS / 2) return;
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
