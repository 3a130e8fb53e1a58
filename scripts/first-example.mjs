// The first example of README.md, for those who try the package.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './shared.mjs';

/** The code of README.md that is marked as the first example. */
export function firstExample() {
  const found = /```\w+ first example\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'));
  if (!found) throw new Error('README.md has no code fence marked "first example"');
  return found[1];
}
