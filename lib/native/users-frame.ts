/** Frames that a stack of modules and closures may have above the user's. */
export const MAX_FRAMES = 64;

/** Where the library's own code is, in a clone or in an installed package. */
const own = import.meta.url.slice(0, import.meta.url.lastIndexOf('/dist/') + '/dist/'.length);

/** The stack at the call of this function, long enough to reach the user's code. Takes some microseconds. */
export function stackHere(): string {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = MAX_FRAMES;
  const { stack = '' } = new Error();
  Error.stackTraceLimit = limit;
  return stack;
}

/** The line of a stack that called into the library, as `file:line:column`; undefined where there is none. */
export function usersFrame(stack: string): string | undefined {
  const frame = stack
    .split('\n')
    .find((line) => /^\s+at .*:\d+:\d+\)?$/.test(line) && !line.includes(own) && !line.includes('(node:'));
  return frame
    ?.match(/(?:\(|at (?:async )?)((?:file:\/\/)?[^()]*:\d+:\d+)\)?$/)?.[1]
    ?.replace(/^file:\/\//, '');
}
