/** Frames that a stack of modules and closures may have above the user's. */
const MAX_FRAMES = 64;

/** Where the library's own code is, in a clone or in an installed package; undefined in a bundle of CommonJS, which has no URL. */
const { url } = import.meta as { url: string | undefined };
const own = url?.slice(0, url.lastIndexOf('/dist/') + '/dist/'.length);

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
  if (own === undefined) return undefined;
  const frame = stack
    .split('\n')
    .find((line) => /^\s+at .*:\d+:\d+\)?$/.test(line) && !line.includes(own) && !line.includes('(node:'));
  return frame
    ?.match(/(?:\(|at (?:async )?)((?:file:\/\/)?[^()]*:\d+:\d+)\)?$/)?.[1]
    ?.replace(/^file:\/\//, '');
}
