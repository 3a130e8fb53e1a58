import { expect } from 'vitest';

/** The text exposition, read back: the value of each sample by its name and labels as written. */
export function samplesOf(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const types = new Map<string, string>();
  for (const line of text.split('\n').slice(0, -1)) {
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (type !== null) types.set(type[1]!, type[2]!);
    if (line.startsWith('#')) continue;
    const sample = /^([a-z_]+)((?:\{[^}]*\})?) (\S+)$/.exec(line);
    expect(sample, line).not.toBeNull();
    const [, name, labels, value] = sample!;
    const family = types.has(name!) ? name! : name!.replace(/_(bucket|sum|count)$/, '');
    expect(types.has(family), line).toBe(true);
    expect(samples.has(name! + labels!), line).toBe(false);
    samples.set(name! + labels!, value === '+Inf' ? Infinity : Number(value));
  }
  return samples;
}
