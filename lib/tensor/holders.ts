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
  const groups = new Map<string, { count: number; bytes: number }>();
  for (const { size, origin } of blocks) {
    const name =
      origin === undefined ? `of ${size} bytes` : `made at ${usersFrame(origin) ?? 'an unknown line'}`;
    const group = groups.get(name) ?? { count: 0, bytes: 0 };
    groups.set(name, { count: group.count + 1, bytes: group.bytes + size });
  }
  const largest = [...groups].sort(([, a], [, b]) => b.bytes - a.bytes);
  const shown = largest
    .slice(0, MOST)
    .map(
      ([name, { count, bytes }]) => `${count} ${count === 1 ? 'block' : 'blocks'} ${name} (${bytes} in all)`,
    );
  if (largest.length > MOST) shown.push('…');
  return shown.join(', ');
}
