import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { processLimit } from '../process-limit.js';

export const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Start {
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  /** Called with what was printed so far, and what ends the process by a signal. */
  readonly watch?: (stdout: string, kill: (signal: NodeJS.Signals) => void) => void;
}

/** Runs `drivetrain` with arguments in a process of its own until it ends. */
export function drivetrain(args: readonly string[], { env, cwd, watch }: Start = {}): Promise<Ended> {
  const child = spawn(process.execPath, [main, ...args], {
    cwd: cwd ?? process.cwd(),
    env: { ...process.env, FORCE_COLOR: undefined, NO_COLOR: '1', ...env },
    timeout: processLimit(),
    killSignal: 'SIGKILL',
  });
  return new Promise((resolve) => {
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
      watch?.(stdout, (signal) => child.kill(signal));
    });
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** A folder that goes with the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'drivetrain-cli-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
