import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/first-mistakes.md'), 'utf8');
const mistakes = [
  ...page.matchAll(/^## (\d+)\. (.+)\n\n```js mistake\n([\s\S]*?)```\n\n```text\n([\s\S]*?)\n```\n\n(.+)/gm),
].map(([, number, title, code, message, remedy]) => ({
  number: Number(number),
  title: title!,
  code: code!,
  message: message!,
  remedy: remedy!,
}));

/** What the page calls the folder of the program. */
const HOME = '/home/you/project';

/** The library as it is installed, apart from the packages of this repository, and a project in which it is found. */
let folder: string;
let project: string;

beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'drivetrain-mistakes-')));
  for (const name of ['dist', 'build/Release', 'prebuilds', 'package.json'].filter((name) =>
    existsSync(join(root, name)),
  ))
    cpSync(join(root, name), join(folder, name), { recursive: true });
  project = join(folder, 'project');
  mkdirSync(project);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A message with the page's folder in place of the test's, as paths and as addresses. */
function atHome(message: string): string {
  return [project, folder]
    .flatMap((name) => [
      [pathToFileURL(name).href, `file://${HOME}`],
      [name, HOME],
    ])
    .reduce((text, [from, to]) => text.replaceAll(from!, to!), message)
    .replaceAll(/\/home\/you\/project[\w.\\-]+/g, (path) => path.replaceAll('\\', '/'));
}

/** What Node prints of the error that ends the program: its name and message. */
function messageOf(file: string): Promise<string> {
  return new Promise((resolve) => {
    execFile(process.execPath, [file], { cwd: project, encoding: 'utf8' }, (_, stdout, stderr) => {
      const printed = stderr.replaceAll('\r\n', '\n');
      const [message] = /^\w*Error(?: \[\w+\])?: [\s\S]*?(?=\n +at |\n\n)/m.exec(printed) ?? [
        `none: ${stdout}${stderr}`,
      ];
      resolve(atHome(message));
    });
  });
}

test('there are thirty, each with a message and a remedy', () => {
  expect(mistakes.map(({ number }) => number)).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
  expect(page.match(/^## /gm)).toHaveLength(30);
});

for (const { number, title, code, message } of mistakes) {
  test(`${number}. ${title}`, async () => {
    const file = join(project, `mistake-${number}.mjs`);
    writeFileSync(file, code);
    expect(await messageOf(file)).toBe(message);
  });
}
