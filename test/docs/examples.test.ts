import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { freePort } from '../free-port.js';

const root = join(import.meta.dirname, '../..');
const folder = join(root, 'build/docs-examples');

interface Example {
  readonly page: string;
  readonly code: string;
  /** The shell block after it, if one follows. */
  readonly shell: string;
}

const pages = [
  'README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];
const examples: Example[] = pages.flatMap((page) => {
  const text = readFileSync(join(root, page), 'utf8');
  let before = '';
  return [...text.matchAll(/```js(?! mistake)([^\n]*)\n([\s\S]*?)```\n(?:\n```sh\n([\s\S]*?)```)?/g)].map(
    ([, info, own, shell]) => {
      // "js mistake" is for first-mistakes.test.ts; "js continued" goes on from the example before it.
      const code = info!.trim() === 'continued' ? before + own! : own!;
      before = code;
      return { page, code, shell: shell ?? '' };
    },
  );
});

/** Inside of the package, so that it can import itself by name. */
function write(name: string, code: string): string {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${name}.mjs`);
  writeFileSync(file, code);
  return file;
}

describe('what the pages show runs as it stands', () => {
  for (const [i, { page, code }] of examples.filter(({ shell }) => shell === '').entries()) {
    test(`${page}, example ${i + 1}`, () => {
      const file = write(`example-${i}`, code);
      expect(execFileSync(process.execPath, [file], { encoding: 'utf8' })).not.toBe('');
    });
  }

  // Windows has neither a shell of this kind nor a signal that lets a process end by itself.
  test.skipIf(process.platform === 'win32')('the server answers the requests shown with it', async () => {
    const [example] = examples.filter(({ shell }) => shell.includes('curl'));
    const port = `${await freePort()}`;
    const file = write('server', example!.code.replace('8000', port));
    const child = spawn(process.execPath, [file], { stdio: 'inherit' });
    try {
      const commands = example!.shell.trim().replaceAll('8000', port).split('\n');
      const [inference, metrics] = commands.map((command) =>
        execFileSync('sh', ['-c', `${command} --fail --retry 20 --retry-connrefused --retry-delay 1`], {
          encoding: 'utf8',
        }),
      );
      const { outputs } = JSON.parse(inference!) as { outputs: { data: number[] }[] };
      expect(outputs[0]!.data.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5);
      expect(metrics).toContain('nv_inference_count{model="iris",version="1"} 1');
    } finally {
      child.kill('SIGTERM');
    }
    const [status] = await once(child, 'exit');
    expect(status).toBe(0);
  });
});
