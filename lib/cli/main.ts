#!/usr/bin/env node
/** The `drivetrain` command. Exit codes: 0, 1 where something failed, 2 where the command line is wrong. */

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { nearest, pad } from '../text/index.js';
import { COMMANDS, type Command } from './commands.js';

class UsageError extends Error {}

const names = Object.keys(COMMANDS);

function usage(): string {
  const width = Math.max(...names.map((name) => name.length));
  const rows = names.map((name) => `  ${pad(name, width)}  ${COMMANDS[name]!.summary}`);
  return `Usage: drivetrain COMMAND [OPTIONS]

${rows.join('\n')}

drivetrain COMMAND --help says more; drivetrain --version which version this is.`;
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

function wrongCommand(name: string): UsageError {
  const near = nearest(name, names);
  const kind = name.startsWith('-') ? 'option' : 'command';
  const hint = near === undefined ? `there are ${names.join(', ')}` : `did you mean ${near}?`;
  return new UsageError(`There is no ${kind} '${name}': ${hint}`);
}

/** What stands behind the command's name, checked. */
function readArguments(name: string, { options, operands }: Command, args: string[]) {
  const known = { ...options, help: { type: 'boolean', short: 'h' } } as const;
  const { tokens } = parseArgs({ args, options: known, strict: false, tokens: true });
  for (const token of tokens) {
    if (token.kind !== 'option' || Object.hasOwn(known, token.name)) continue;
    const near = nearest(token.name, Object.keys(known));
    const hint = near === undefined ? '' : `: did you mean --${near}?`;
    throw new UsageError(`drivetrain ${name} has no option '${token.rawName}'${hint}`);
  }
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({ args, options: known, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const { values, positionals } = parsed;
  if (values.help === true || positionals.length === operands.length)
    return { values: values as Record<string, string | boolean | undefined>, positionals };
  if (positionals.length < operands.length)
    throw new UsageError(`drivetrain ${name} needs ${operands.slice(positionals.length).join(' ')}`);
  throw new UsageError(
    `drivetrain ${name} takes ${operands.join(' ') || 'no arguments'}, not also '${positionals[operands.length]}'`,
  );
}

async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h' || (name === 'help' && rest.length === 0)) {
    console.log(usage());
    return 0;
  }
  if (name === '--version' || name === '-v') {
    console.log(version());
    return 0;
  }
  if (name === 'help') return main([rest[0]!, '--help']);
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) throw wrongCommand(name);
  const { values, positionals } = readArguments(name, command, rest);
  if (values.help === true) {
    console.log(command.usage);
    return 0;
  }
  return (await command.load()).run(values, positionals);
}

/** A reader that has seen enough (`| head`) is no failure. */
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof UsageError) {
    console.error(`${message}\n\ndrivetrain --help shows what there is.`);
    process.exitCode = 2;
  } else {
    const ours = String(code).startsWith('DT_');
    console.error(ours ? message : error);
    if (code === 'DT_ADDON_LOAD') console.error('\ndrivetrain doctor says more.');
    process.exitCode = 1;
  }
}
