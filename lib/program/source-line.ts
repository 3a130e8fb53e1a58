import { stackHere, usersFrame } from '../native/index.js';

/** Whether programs keep the lines that recorded them, and look for the first non-finite value of each run. */
export const debug = process.env['DRIVETRAIN_DEBUG'] === '1';

/** The line of the user's code that called into the library, as `file:line:column`; undefined where there is none. */
export const callersLine = (): string | undefined => usersFrame(stackHere());
