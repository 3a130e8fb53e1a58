import { totalmem } from 'node:os';
import { bytes, type Finding } from '../text/index.js';

/** Less than this is soon used up by one model. */
const SMALL = 512 * 2 ** 20;

/** What the process may use: of the machine, of its control group, of the pool that tensors live in. */
export function memory(poolLimit: number | undefined): Finding {
  const machine = totalmem();
  const constrained = process.constrainedMemory();
  const limited = constrained > 0 && constrained < machine;
  const limit = limited ? constrained : machine;
  const available = process.availableMemory();
  const found = [
    limited ? `${bytes(limit)} by a limit on this process (cgroup), of ${bytes(machine)}` : bytes(machine),
    `${bytes(available)} available`,
    ...(poolLimit === undefined ? [] : [`tensors may take ${bytes(poolLimit)}`]),
  ].join('; ');
  const subject = 'memory';
  if (poolLimit !== undefined && poolLimit > limit) {
    return {
      status: 'note',
      subject,
      found,
      advice: `Tensors may take more than there is, and the system would end the process: defaultPool.limit = ${Math.floor(limit / 2)} makes it an error instead.`,
    };
  }
  if (available < SMALL) {
    return {
      status: 'note',
      subject,
      found,
      advice: 'Take small batches and models, or give the process more memory.',
    };
  }
  return { status: 'ok', subject, found };
}
