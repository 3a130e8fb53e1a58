import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { release } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Finding, formatFindings, styleOf } from '../text/index.js';
import type { Values } from './commands.js';
import { files } from './doctor-files.js';
import { memory } from './doctor-memory.js';
import { selfTest } from './self-test.js';

export type Library = typeof import('../index.js');

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Variables that change what runs. */
const VARIABLES = {
  DRIVETRAIN_BINARY: 'the addon of that path is used and no other',
  DRIVETRAIN_ISA: 'the kernels of that instruction set are used and no others',
  DRIVETRAIN_DEBUG: 'every run looks for values that are not finite, which takes time',
};

/** Looks at this machine, then tests the kernels; runs where the addon does not load, and says why. */
export async function run({ json }: Values): Promise<number> {
  const findings = [await system(), node(), ...variables()];
  const library = await load(findings);
  findings.push(memory(library?.defaultPool.limit));
  if (library !== undefined) {
    findings.push(...(await library.diagnose({ pools: {} })).findings);
    findings.push(...selfTest(library), await files(library));
  }
  const ok = findings.every(({ status }) => status !== 'problem');
  console.log(json ? JSON.stringify({ ok, findings }, null, 2) : formatFindings(findings, styleOf()));
  return ok ? 0 : 1;
}

async function system(): Promise<Finding> {
  const { version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as { version: string };
  const libc = process.platform === 'linux' ? `, ${libcOf()}` : '';
  return {
    status: 'ok',
    subject: 'system',
    found: `drivetrain ${version} on ${process.platform}-${process.arch}${libc} (${release()})`,
  };
}

function libcOf(): string {
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime === undefined ? 'musl' : `glibc ${header.glibcVersionRuntime}`;
}

function node(): Finding {
  const [major, minor] = process.versions.node.split('.').map(Number) as [number, number];
  const found = `Node ${process.versions.node}, ${process.execPath}`;
  if (major > 20 || (major === 20 && minor >= 19)) return { status: 'ok', subject: 'node', found };
  return {
    status: 'problem',
    subject: 'node',
    found,
    advice: 'drivetrain needs Node 20.19 or later: https://nodejs.org, or your version manager.',
  };
}

function variables(): Finding[] {
  return Object.entries(VARIABLES).flatMap(([name, effect]) => {
    const value = process.env[name];
    if (!value) return [];
    return [
      {
        status: 'note',
        subject: 'environment',
        found: `${name}=${value}: ${effect}`,
        advice: `Unset ${name} if that is not what you want.`,
      },
    ] satisfies Finding[];
  });
}

/** The library, or why there is none. */
async function load(findings: Finding[]): Promise<Library | undefined> {
  const subject = 'native addon';
  try {
    const library = await import('../index.js');
    findings.push({ status: 'ok', subject, found: loadedFrom() });
    return library;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const advice =
      code === 'DT_UNSUPPORTED_ISA' || code === 'DT_ADDON_MISMATCH'
        ? undefined
        : '`npx drivetrain build` compiles one for this machine, and says what it needs.';
    findings.push({ status: 'problem', subject, found: message, ...(advice !== undefined && { advice }) });
    return undefined;
  }
}

/** Node remembers every addon by its file. */
function loadedFrom(): string {
  const { cache } = createRequire(import.meta.url);
  const [file] = Object.keys(cache).filter((name) => typeof cache[name]?.exports?.opcodeHash === 'string');
  return file ?? 'loaded';
}
