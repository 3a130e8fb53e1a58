// Packs the library once for all files of these tests.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { root, runNpm } from '../../scripts/shared.mjs';

export interface Packed {
  readonly archive: string;
  readonly unpackedSize: number;
  readonly files: readonly { path: string; size: number }[];
  /** The code of README.md that is marked as the first example. */
  readonly example: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    packed: Packed;
  }
}

export default function setup({ provide }: TestProject): () => void {
  const found = /```\w+ first example\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'));
  if (!found) throw new Error('README.md has no code fence marked "first example"');
  const folder = mkdtempSync(join(tmpdir(), 'drivetrain-package-'));
  const output = runNpm(['pack', '--json', '--foreground-scripts=false', '--pack-destination', folder], {});
  const { filename, unpackedSize, files } = JSON.parse(output)[0];
  provide('packed', { archive: join(folder, filename), unpackedSize, files, example: found[1]! });
  return () => rmSync(folder, { recursive: true, force: true });
}
