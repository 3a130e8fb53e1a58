import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CheckpointManager, zeros } from 'drivetrain';
import { expect, onTestFinished, test } from 'vitest';
import { temporaryFolder } from '../support.js';

const library = new URL('../../../dist/index.js', import.meta.url).href;
const ROUNDS = 20;
const KILLS_A_ROUND = 5;

/** Saves again and again, each tensor filled with the step's number; says each step that save() acknowledged. */
const writer = (folder: string, first: number) => `
  import { CheckpointManager, full } from ${JSON.stringify(library)};
  const manager = new CheckpointManager(${JSON.stringify(folder)}, { maxToKeep: 2 });
  for (let step = ${first}; ; step++) {
    const part = (n) => ({ stateDict: () => ({ value: full([n], step), step }) });
    await manager.save({ a: part(50_000), b: part(1000) }, { step });
    process.stdout.write(step + '\\n');
  }`;

test('kill -9 at any moment of saving loses nothing that was acknowledged', async () => {
  const folder = temporaryFolder();
  const manager = new CheckpointManager(folder);
  let acknowledged = 0;
  const kill = async () => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', writer(folder, acknowledged + 1)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
    const exited = once(child, 'close');
    while (output === '') await sleep(1);
    await sleep(Math.random() * 30);
    child.kill('SIGKILL');
    await exited;
    acknowledged = Number(output.trim().split('\n').at(-1));
  };
  for (let round = 0; round < ROUNDS * KILLS_A_ROUND; round++) {
    await kill();
    const checkpoint = (await manager.latest())!;
    expect(checkpoint.step).toBeGreaterThanOrEqual(acknowledged);
    acknowledged = checkpoint.step;
    const found = zeros([50_000]);
    let step = 0;
    const part = {
      stateDict: () => ({}),
      loadStateDict: (state: { value: typeof found; step: number }) => {
        step = state.step;
        expect((state.value.toArray() as Float32Array).every((value) => value === step)).toBe(true);
      },
    };
    await checkpoint.load({ a: part });
    expect(step).toBe(checkpoint.step);
    found.dispose();
  }
  // What the killed left unfinished goes with the next save.
  await manager.save({}, { step: acknowledged + 1 });
  expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([]);
}, 120_000);
