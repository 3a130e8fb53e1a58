/** A count of bytes in the largest unit of which there is one: "1.5 MiB". */
export function bytes(count: number): string {
  const power = Math.min(3, Math.floor(Math.log2(Math.max(1, count)) / 10));
  return `${Number((count / 1024 ** power).toPrecision(3))} ${['B', 'KiB', 'MiB', 'GiB'][power]}`;
}

/** A share of one as "1.2 %" or "34 %". */
export const percent = (share: number): string => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
