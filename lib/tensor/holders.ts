import { usersFrame } from '../native/index.js';

/** Groups that are named. */
const MOST = 3;

interface Held {
  readonly size: number;
  readonly origin?: string | undefined;
}

/**
 * Who holds the most of a pool, in words: blocks by the line that made them, where origins are known, else by size.
 */
export function describeHolders(blocks: Iterable<Held>): string {
  const groups = new Map<string | number, { count: number; bytes: number }>();
  for (const { size, origin } of blocks) {
    const key = origin ?? size;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { count: 1, bytes: size });
    else {
      group.count++;
      group.bytes += size;
    }
  }
  const largest = [...groups].sort(([, a], [, b]) => b.bytes - a.bytes);
  const shown = largest.slice(0, MOST).map(([key, { count, bytes }]) => {
    const name =
      typeof key === 'number' ? `of ${key} bytes` : `made at ${usersFrame(key) ?? 'an unknown line'}`;
    return `${count} ${count === 1 ? 'block' : 'blocks'} ${name} (${bytes} in all)`;
  });
  if (largest.length > MOST) shown.push('…');
  return shown.join(', ');
}
