// Before each file that shares a process with others: what those have left is freed now, not while a test counts blocks, and
// random numbers begin as in a process of its own.
import { setTimeout as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { seed } from 'drivetrain';

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');
for (let i = 0; i < 2; i++) {
  collect();
  await turn(1);
}
seed(0);
