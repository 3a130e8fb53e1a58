import { type SpawnOptions, spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { processLimit } from '../process-limit.js';

export const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));

/** The addon that was loaded: Node remembers each by its file. */
export const loadedAddon = (): string =>
  Object.keys(createRequire(import.meta.url).cache).find((file) => file.endsWith('.node'))!;

export interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Start {
  args?: string[];
  /** Options of node itself. */
  flags?: string[];
  env?: Record<string, string>;
  /** Sent once the process has printed a line. */
  signal?: NodeJS.Signals;
}

/** Runs a fixture in a process of its own until it ends; one that hangs is killed, which shows as SIGKILL. */
export function runFixture(
  name: string,
  { args = [], flags = [], env = {}, signal }: Start = {},
): Promise<Outcome> {
  const options: SpawnOptions = {
    env: { ...process.env, ...env },
    timeout: processLimit(),
    killSignal: 'SIGKILL',
  };
  const child = spawn(process.execPath, [...flags, fixture(name), ...args], options);
  return new Promise((resolve) => {
    let [stdout, stderr] = ['', ''];
    child.stdout!.on('data', (chunk) => {
      stdout += chunk;
      if (signal !== undefined && stdout.includes('\n')) child.kill(signal);
    });
    child.stderr!.on('data', (chunk) => {
      stderr += chunk;
    });
    child.on('close', (code, ended) => resolve({ code, signal: ended, stdout, stderr }));
  });
}
