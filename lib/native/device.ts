import { binding, type DeviceInfo } from './binding.js';
import { DrivetrainError } from './errors.js';
import { inspect } from './inspect.js';

const MAX_THREADS = 256;

/** The processor that runs native work. */
export const device = {
  /** Which instruction set runs, which ones could, and with how many threads. */
  info(): DeviceInfo {
    return binding.deviceInfo();
  },

  /**
   * Sets how many threads native work may use, from 1 to 256, for the whole process. Results do not depend on it. The
   * default is the number of processors that the process may use.
   */
  setThreads(threads: number): void {
    if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a whole number from 1 to ${MAX_THREADS} for threads but received ${inspect(threads)}.`,
      );
    }
    binding.setThreads(threads);
  },
};
