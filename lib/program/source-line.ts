/** Whether programs keep the lines that recorded them, and look for the first non-finite value of each run. */
export const debug = process.env['DRIVETRAIN_DEBUG'] === '1';

/** Frames that a stack of modules and closures may have above the user's. */
const MAX_FRAMES = 64;

/** Where the library's own code is, in a clone or in an installed package. */
const own = import.meta.url.slice(0, import.meta.url.lastIndexOf('/dist/') + '/dist/'.length);

/** The line of the user's code that called into the library, as `file:line:column`; undefined where there is none. */
export function callersLine(): string | undefined {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = MAX_FRAMES;
  const { stack = '' } = new Error();
  Error.stackTraceLimit = limit;
  const frame = stack
    .split('\n')
    .find((line) => /^\s+at .*:\d+:\d+\)?$/.test(line) && !line.includes(own) && !line.includes('(node:'));
  return frame
    ?.match(/(?:\(|at (?:async )?)((?:file:\/\/)?[^()]*:\d+:\d+)\)?$/)?.[1]
    ?.replace(/^file:\/\//, '');
}
