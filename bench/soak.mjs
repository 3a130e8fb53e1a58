// Ten million allocations as a service makes them: does the memory of the process stay flat?
//   node bench/soak.mjs [allocations] [--seed N]
// Requests of all sizes, of which some are kept for a while as in a cache, scopes, and a compiled function with its
// temporaries. Exit code 1 where memory at the end is more than a tenth, and 16 MB, above that in the second fifth.
import { parseArgs } from 'node:util';
import { compile, Generator, gelu, Linear, MemoryPool, rand, relu, zeros } from '../dist/index.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string', default: '1' } },
});
const ALLOCATIONS = Number(positionals[0] ?? 1e7);
const LINES = 20;
const KEPT = 500;
const LARGEST = 2 ** 18;

const pool = new MemoryPool({ limit: 2 ** 30 });
const generator = new Generator(Number(values.seed));

/** Uniform numbers, drawn many at a time. */
let drawn = [];
function uniform() {
  if (drawn.length === 0) {
    const t = rand([4096], { generator });
    drawn = Array.from(t.toArray());
    t.dispose();
  }
  return drawn.pop();
}

const model = new Linear(64, 64).freeze();
const predict = compile((x) => gelu(model.forward(relu(model.forward(x)))));
const kept = [];

/** One request; returns how many blocks it took. */
function request() {
  // From one to a quarter of a million elements, small ones more often.
  const size = Math.floor(LARGEST ** uniform());
  const kind = uniform();
  if (kind < 0.6) {
    pool.scope(() => {
      for (let i = 0; i < 4; i++) zeros([size]);
    });
    return 4;
  }
  if (kind < 0.9) {
    pool.scope(() => {
      predict.runSync(zeros([1 + (size % 32), 64]));
    });
    return 2;
  }
  const place = Math.floor(uniform() * KEPT);
  kept[place]?.dispose();
  kept[place] = pool.scope(() => zeros([size]));
  return 1;
}

const megabytes = (bytes) => (bytes / 2 ** 20).toFixed(0).padStart(6);
console.log('allocations  RSS, MB  in use  slabs  fragmentation');
const rss = [];
let done = 0;
for (let line = 1; line <= LINES; line++) {
  while (done < (ALLOCATIONS * line) / LINES) {
    for (let i = 0; i < 1000; i++) done += request();
    await new Promise(setImmediate); // a service has an event loop that turns
  }
  const { current, reserved, fragmentation } = pool.statistics;
  rss.push(process.memoryUsage().rss);
  console.log(
    `${done.toExponential(2).padStart(11)}  ${megabytes(rss.at(-1))}  ${megabytes(current)} ${megabytes(reserved)}  ${fragmentation.toFixed(2).padStart(13)}`,
  );
}
const fifth = LINES / 5;
const [begin, end] = [Math.max(...rss.slice(fifth, 2 * fifth)), Math.max(...rss.slice(-fifth))];
const grown = end > 1.1 * begin && end - begin > 16 * 2 ** 20;
console.log(grown ? 'Memory has grown.' : 'Memory is flat.');
process.exitCode = grown ? 1 : 0;
