import type { ParseArgsConfig } from 'node:util';

export type Values = Readonly<Record<string, string | boolean | undefined>>;

/** One command of `drivetrain`. Its module is loaded when it is run: help and `doctor` need no addon. */
export interface Command {
  readonly summary: string;
  readonly usage: string;
  readonly options: NonNullable<ParseArgsConfig['options']>;
  /** What stands behind the command besides options: names for `usage` and for complaints. */
  readonly operands: readonly string[];
  /** Gives the exit code. */
  readonly load: () => Promise<{ run(values: Values, operands: readonly string[]): Promise<number> }>;
}

export const COMMANDS: Readonly<Record<string, Command>> = {
  doctor: {
    summary: 'looks at this machine and tests the kernels',
    usage: `Usage: drivetrain doctor [--json]

Says which binary, instruction set, threads and memory there are, compares the kernels with plain JavaScript, and
says what to do about each finding. The exit code is 1 where something has to be mended.

  --json  the findings as JSON`,
    options: { json: { type: 'boolean' } },
    operands: [],
    load: () => import('./doctor.js'),
  },
  inspect: {
    summary: 'shows the tensors of a safetensors file, or the files of a model folder',
    usage: `Usage: drivetrain inspect FILE [--json]

Of a safetensors file: names, dtypes, shapes and statistics of all tensors, read piece by piece, and its metadata.
Of a folder (a checkpoint, a model from Hugging Face): what each of its files is.

  --json  the same as JSON`,
    options: { json: { type: 'boolean' } },
    operands: ['FILE'],
    load: () => import('./inspect.js'),
  },
  demo: {
    summary: 'trains, quantizes and serves a small model, here and now',
    usage: `Usage: drivetrain demo [--out FOLDER] [--quick]

Trains a classifier of handwritten digits, quantizes it to INT8, serves it over HTTP on a free port of this machine and
sends it requests. Needs no network. Writes the model, and a program that uses it, to a folder.

  --out FOLDER  where to write them (drivetrain-demo)
  --quick       fewer epochs and requests`,
    options: { out: { type: 'string' }, quick: { type: 'boolean' } },
    operands: [],
    load: () => import('./demo.js'),
  },
  build: {
    summary: 'compiles the native addon for this machine',
    usage: `Usage: drivetrain build

Compiles the native addon from the sources in this package, tries it and puts it where it is looked for first. Needs a
C++20 compiler (GCC or clang), CMake and make or ninja, and says which of them is missing and how to install it.
Nothing is downloaded.`,
    options: {},
    operands: [],
    load: () => import('./build.js'),
  },
};
