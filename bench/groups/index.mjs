import * as gemmF32 from './gemm-f32.mjs';

const GROUPS = [gemmF32];

/** The rows of all groups whose `group name` has `filter` in it. Making one costs nothing until it is compared. */
export function selectRows(filter = '') {
  return GROUPS.flatMap(({ rows }) => [...rows()]).filter(({ group, name }) =>
    `${group} ${name}`.includes(filter),
  );
}
