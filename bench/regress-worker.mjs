// Times our own part of the rows once, in this process, for the build that DRIVETRAIN_BENCH_BUILD names:
//   node bench/regress-worker.mjs [FILTER] → {"row": seconds, …}
// What that build cannot do is left out.
import { selectRows } from './groups/index.mjs';
import { takeTurns } from './measure.mjs';
import { drivetrain } from './peers/index.mjs';
import { median } from './statistics.mjs';

/** Several rounds: the first ones of a fresh process run on code that is not optimised yet. */
const PACE = { rounds: 7, milliseconds: 10 };
/** Making more than that takes longer than measuring. */
const MAX_INPUT_ELEMENTS = 2 ** 22;

const inputElements = ({ problem }) =>
  Object.values(problem.inputs).reduce((sum, { length }) => sum + length, 0);

async function secondsOf({ problem, threads }) {
  drivetrain.setThreads(threads);
  const contestant = await drivetrain[problem.op](problem, threads);
  const [times] = await takeTurns([contestant], PACE);
  contestant.dispose?.();
  return median(times);
}

const seconds = {};
for (const row of selectRows(process.argv[2])) {
  if (inputElements(row) > MAX_INPUT_ELEMENTS) continue;
  try {
    seconds[`${row.group} ${row.name}, threads ${row.threads}`] = await secondsOf(row);
  } catch (error) {
    console.error(`${row.group} ${row.name}: ${error.message}`);
  }
}
process.stdout.write(JSON.stringify(seconds));
