import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { checkImports } from '../../scripts/check-imports.mjs';

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function library(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'imports-'));
  folders.push(folder);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(folder, dirname(name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

test('imports that go down through an index are accepted', () => {
  const good = library({
    'index.ts': "export * from './ops/index.js';\n",
    'ops/index.ts': "export { add } from './add.js';\n",
    'ops/add.ts': "import { Tensor } from '../tensor/index.js';\nexport const add = Tensor;\n",
    'tensor/index.ts': 'export const Tensor = 1;\n',
  });
  expect(checkImports(good)).toEqual([]);
});

test('an import that goes up is named with its line', () => {
  const bad = library({
    'tensor/index.ts': "export const x = 1;\nexport { add } from '../ops/index.js';\n",
    'ops/index.ts': 'export const add = 1;\n',
  });
  expect(checkImports(bad)).toEqual(['tensor/index.ts:2 goes up from tensor to ops (ops/index.ts)']);
});

test('reaching round the index of another floor is named', () => {
  const bad = library({
    'ops/index.ts': "import type { Shape } from '../tensor/shape.js';\nexport type S = Shape;\n",
    'tensor/shape.ts': 'export type Shape = number[];\n',
  });
  expect(checkImports(bad)).toEqual([
    'ops/index.ts:1 enters tensor by another door than its index (tensor/shape.ts)',
  ]);
});

test('dynamic and CommonJS imports count as well', () => {
  const bad = library({
    'native/load.cts': "import up = require('../serve/index.js');\nexport = up;\n",
    'native/late.ts': "export const late = () => import('../serve/index.js');\n",
    'serve/index.ts': 'export const serve = 1;\n',
  });
  expect(checkImports(bad)).toHaveLength(2);
});

test('a circle between files is named', () => {
  const bad = library({
    'ops/a.ts': "import './b.js';\n",
    'ops/b.ts': "import './c.js';\n",
    'ops/c.ts': "import './a.js';\n",
  });
  expect(checkImports(bad)).toEqual(['circle: ops/a.ts → ops/b.ts → ops/c.ts → ops/a.ts']);
});

test('a circle of types alone is accepted: it is gone at run time', () => {
  const good = library({
    'ops/a.ts': "import { b } from './b.js';\nexport type A = typeof b;\n",
    'ops/b.ts': "import type { A } from './a.js';\nexport const b = 1 as unknown as A[];\n",
  });
  expect(checkImports(good)).toEqual([]);
});
