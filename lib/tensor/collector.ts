import { binding } from '../native/index.js';
import type { PressureLevel } from './memory-pressure.js';

/**
 * Bytes that V8 is told of for a moment. It then looks for what was forgotten: from some hundred megabytes on piece by
 * piece, beside other work; from its own limit on at once (some milliseconds for a heap of 10 MB).
 */
const TOLD: Readonly<Record<PressureLevel, number>> = { high: 2 ** 29, critical: 2 ** 32 };

/** What a hint took has to be this small a part of the time until the next. */
const SHARE = 0.1;

const notBefore: Record<PressureLevel, number> = { high: 0, critical: 0 };

/**
 * Lets V8 look for tensors that were forgotten, whose memory is free when the event loop has turned after that. Does
 * nothing where it was asked so lately that it would be busy with nothing else.
 */
export function hintCollector(level: PressureLevel): void {
  const begin = performance.now();
  if (begin < notBefore[level]) return;
  binding.adjustExternalMemory(TOLD[level]);
  binding.adjustExternalMemory(-TOLD[level]);
  const end = performance.now();
  notBefore[level] = end + (end - begin) / SHARE;
}
