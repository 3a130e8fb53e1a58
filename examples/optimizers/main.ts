/** Every optimizer on MNIST, at the settings of methods.ts: a table and the loss curves of docs/optimizers.md. */

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { device } from 'drivetrain';
import { loadMnist } from '../digits/data.js';
import { drawCurves } from './curves.js';
import { METHODS } from './methods.js';
import { EPOCHS, type Run, train } from './train.js';

const USAGE = `Usage: npm run optimizers -- [--filter TEXT] [--write]
  --filter TEXT  only the methods whose names have TEXT in them
  --write        puts the table into docs/optimizers.md and the curves into docs/optimizers.svg`;

const WANTED = 0.98;
const [BEGIN, END] = ['<!-- table: npm run optimizers -- --write -->', '<!-- end of table -->'];

const percent = (share: number) => `${(100 * share).toFixed(2)} %`;
const settings = (options: Run['options']) =>
  Object.entries(options)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');

function row({ name, options, accuracies, losses, seconds }: Run): string {
  const cells = [
    name,
    `\`${settings(options)}\``,
    percent(accuracies[0]!),
    percent(accuracies.at(-1)!),
    losses.at(-1)!.toFixed(4),
    seconds.toFixed(1),
  ];
  return `| ${cells.join(' | ')} |`;
}

const HEADER = `| method | settings | accuracy after 1 epoch | after ${EPOCHS} | training loss at the end | seconds |
|---|---|---|---|---|---|`;

async function writeDocs(runs: readonly Run[]): Promise<void> {
  const docs = join(import.meta.dirname, '../../../docs');
  const page = await readFile(join(docs, 'optimizers.md'), 'utf8');
  const [from, to] = [page.indexOf(BEGIN) + BEGIN.length, page.indexOf(END)];
  const table = `\n${HEADER}\n${runs.map(row).join('\n')}\n`;
  await writeFile(join(docs, 'optimizers.md'), page.slice(0, from) + table + page.slice(to));
  await writeFile(join(docs, 'optimizers.svg'), drawCurves(runs, EPOCHS));
}

const { values } = parseArgs({
  options: { filter: { type: 'string' }, write: { type: 'boolean' }, help: { type: 'boolean' } },
});
if (values.help) {
  console.log(USAGE);
} else {
  const { isa, threads } = device.info();
  console.log(`MNIST, 784–256–128–10, batches of 128, ${EPOCHS} epochs; ${isa}, threads ${threads}\n\n${HEADER}`);
  const { train: digits, test } = await loadMnist();
  const runs: Run[] = [];
  for (const method of METHODS.filter(({ name }) => name.includes(values.filter ?? ''))) {
    runs.push(await train(method, digits, test));
    console.log(row(runs.at(-1)!));
  }
  if (values.write) await writeDocs(runs);
  const short = runs.filter(({ accuracies }) => accuracies.at(-1)! < WANTED);
  if (short.length > 0) {
    console.error(`\nUnder ${percent(WANTED)}: ${short.map(({ name }) => name).join(', ')}`);
    process.exitCode = 1;
  }
}
