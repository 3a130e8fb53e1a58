// Measures the library beside everything that one could use instead, and against what the machine can do.
//   node bench/main.mjs [--filter TEXT] [--json FILE]
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { compareRow } from './compare.mjs';
import { selectRows } from './groups/index.mjs';
import { describeMachine, machineLine } from './machine.mjs';
import { describePeer, loadPeers } from './peers/index.mjs';
import { shareLimits } from './results.mjs';
import { groupTable, targetTable, wrongResults } from './table.mjs';
import { judge } from './targets.mjs';

const PACE = { rounds: 5, milliseconds: 20 };

const { values: options } = parseArgs({ options: { filter: { type: 'string' }, json: { type: 'string' } } });

/** What is done, on one line that is overwritten; a log has a line for each group instead. */
function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

const machine = describeMachine();
const peers = await loadPeers(machine.isa);
console.log([machineLine(machine), ...peers.map(describePeer)].join('\n'));

const selected = selectRows(options.filter);
const rows = [];
const start = performance.now();

function closeGroup(group) {
  const ofGroup = rows.filter((row) => row.group === group);
  shareLimits(ofGroup);
  progress('');
  console.log(`\n${groupTable(ofGroup)}`);
}

for (const [i, row] of selected.entries()) {
  const seconds = ((performance.now() - start) / 1e3).toFixed(0);
  progress(`${i + 1} of ${selected.length}, ${seconds} s: ${row.group} ${row.name}, threads ${row.threads}`);
  rows.push(await compareRow(row, peers, PACE));
  if (selected[i + 1]?.group !== row.group) closeGroup(row.group);
}

const unpinned = peers.filter((peer) => peer.unpinned).map(({ name }) => name);
const targets = judge(rows, { unpinned });
const judged = targets.filter(({ met }) => met !== null);
const closing = [
  wrongResults(rows),
  judged.length ? targetTable(options.filter ? judged : targets) : '',
  `${rows.length} rows in ${((performance.now() - start) / 1e3).toFixed(0)} s`,
];
console.log(`\n${closing.filter(Boolean).join('\n\n')}`);

const about = peers.map(({ peer: _, ...rest }) => rest);
if (options.json) {
  writeFileSync(
    options.json,
    `${JSON.stringify({ machine: { ...machine, peers: about }, rows, targets }, null, 2)}\n`,
  );
}
for (const { peer } of peers) peer?.unload?.();
if (rows.some(({ wrong }) => wrong.drivetrain)) process.exitCode = 1;
