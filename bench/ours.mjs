// The library that is measured: this tree's, or another build's that the environment names.
import { pathToFileURL } from 'node:url';

const build = process.env.DRIVETRAIN_BENCH_BUILD;
const at = build ? pathToFileURL(`${build}/dist/index.js`) : new URL('../dist/index.js', import.meta.url);

export const drivetrain = await import(at.href);
