// What runs of an encoder of the shape of MiniLM-L6 take beside its weights: by how much the peak of the process, of its own
// for everybody, is above what it has before the first run. onnxruntime-node is asked to do without its arena, which holds
// what building the model has left: that shows what its runs need. Linux.
//   node bench/encoder-memory.mjs [batch]
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { selectRows } from './groups/index.mjs';

const batch = Number(process.argv[2] ?? 8);
const RUNS = 20;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

/** Bytes of a field of /proc/self/status. */
const status = (field) =>
  1024 * Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync('/proc/self/status', 'utf8'))[1]);

/** In the process of one contestant: prints by how many bytes its peak grows. */
async function grow(who) {
  const peer = await import(`./peers/${who}.mjs`);
  await peer.load?.();
  peer.setThreads?.(1);
  const { problem } = selectRows(`minilm-l6/${batch}x128`)[0];
  const contestant = await peer.encoder({ ...problem, arrays: problem.arrays, arena: false }, 1);
  problem.release();
  // What building the model took is given back by threads of the collector.
  for (let i = 0; i < 5; i++) {
    global.gc();
    await sleep(200);
  }
  const before = status('VmRSS');
  writeFileSync('/proc/self/clear_refs', '5'); // the peak begins anew
  for (let i = 0; i < RUNS; i++) await contestant.run();
  console.log(JSON.stringify({ grown: status('VmHWM') - before, planned: contestant.planned?.() }));
}

const [, , , role] = process.argv;
if (role !== undefined) await grow(role);
else {
  // What was freed goes back at once, so that a run's memory does not hide in what the building of the model has left.
  const env = { ...process.env, MALLOC_MMAP_THRESHOLD_: '65536', MALLOC_TRIM_THRESHOLD_: '65536' };
  for (const who of ['drivetrain', 'onnxruntime']) {
    const file = fileURLToPath(import.meta.url);
    const out = execFileSync(process.execPath, ['--expose-gc', file, String(batch), who], {
      encoding: 'utf8',
      env,
    });
    const { grown, planned } = JSON.parse(out);
    const plan = planned === undefined ? '' : `, ${megabytes(planned)} of it planned for temporaries`;
    console.log(`${who}, batch ${batch}: ${megabytes(grown)} in ${RUNS} runs${plan}`);
  }
}
