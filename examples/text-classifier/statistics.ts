/** The 95 % interval of a share of `count` independent trials, of which `hits` were hits. Wilson, JASA 22 (1927), 209. */
export function wilson(hits: number, count: number): [low: number, high: number] {
  const z = 1.96;
  const share = hits / count;
  const middle = share + z ** 2 / (2 * count);
  const half = z * Math.sqrt((share * (1 - share)) / count + z ** 2 / (4 * count ** 2));
  return [(middle - half) / (1 + z ** 2 / count), (middle + half) / (1 + z ** 2 / count)];
}

/**
 * Two classifiers on the same texts: where one alone is right. Were they equally good, `chi2` (with correction for continuity)
 * would be above 10.83 once in a thousand times. McNemar, Psychometrika 12 (1947), 153.
 */
export function mcNemar(first: readonly boolean[], second: readonly boolean[]) {
  const onlyFirst = first.filter((right, i) => right && !second[i]).length;
  const onlySecond = second.filter((right, i) => right && !first[i]).length;
  const apart = onlyFirst + onlySecond;
  const chi2 = apart === 0 ? 0 : Math.max(0, Math.abs(onlyFirst - onlySecond) - 1) ** 2 / apart;
  return { onlyFirst, onlySecond, chi2 };
}
