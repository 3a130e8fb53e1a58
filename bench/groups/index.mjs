import * as attention from './attention.mjs';
import * as call from './call.mjs';
import * as gemmBatched from './gemm-batched.mjs';
import * as gemmF32 from './gemm-f32.mjs';
import * as gemmInt8 from './gemm-int8.mjs';
import * as infer from './infer.mjs';
import * as optim from './optim.mjs';
import * as rowOperations from './rows.mjs';
import * as train from './train.mjs';

const GROUPS = [gemmF32, gemmBatched, gemmInt8, attention, rowOperations, optim, call, train, infer];

/** The rows of all groups whose `group name` has `filter` in it. Making one costs nothing until it is compared. */
export function selectRows(filter = '') {
  return GROUPS.flatMap(({ rows }) => [...rows()]).filter(({ group, name }) =>
    `${group} ${name}`.includes(filter),
  );
}
