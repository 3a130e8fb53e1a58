import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, inject } from 'vitest';
import { root, run } from '../../scripts/shared.mjs';

/** Where the tools are that the package is tried with. */
const COMPAT = join(root, 'compat');

/** The path of a tool's file. */
export const tool = (path: string): string => join(COMPAT, 'node_modules', path);

export interface Ran {
  readonly status: number | null;
  readonly output: string;
}

/** A user's project with the packed library in it, below the folder of the tools, so that it finds them as its own. */
export class Project {
  readonly folder: string;

  constructor(name: string, manifest: object = {}) {
    this.folder = join(COMPAT, 'build', name);
    rmSync(this.folder, { recursive: true, force: true });
    const modules = join(this.folder, 'node_modules');
    mkdirSync(join(modules, 'drivetrain'), { recursive: true });
    run('tar', ['-xzf', inject('packed').archive, '-C', join(modules, 'drivetrain'), '--strip-components=1']);
    this.write('package.json', JSON.stringify({ name: 'user', private: true, type: 'module', ...manifest }));
  }

  write(file: string, text: string): string {
    mkdirSync(dirname(join(this.folder, file)), { recursive: true });
    writeFileSync(join(this.folder, file), text);
    return file;
  }

  /** Runs a program here; both of its streams are in `output`. */
  run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Ran {
    const { status, stdout, stderr, error } = spawnSync(command, args, {
      cwd: this.folder,
      env: { ...process.env, NODE_OPTIONS: '', ...env },
      encoding: 'utf8',
    });
    if (error) throw error;
    return { status, output: stdout + stderr };
  }

  /** Runs Node here, which must end well; gives what it printed. */
  node(...args: string[]): string {
    const { status, output } = this.run(process.execPath, args);
    expect(status, output).toBe(0);
    return output;
  }
}

/** What the first example prints last. */
export const PROBABILITIES = /\[ 0\.99\d+, 0\.00\d+ \],\n\s+\[ 0\.00\d+, 0\.99\d+ \]/;
