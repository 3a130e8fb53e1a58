import { Tensor } from '../tensor/index.js';
import type { MonitoredOptimizer } from './training-monitor.js';

/** The tensors of an optimizer's state by name: some have JSON beside them. */
export function stateTensors(optimizer: Pick<MonitoredOptimizer, 'stateDict'>): Record<string, Tensor> {
  const entries = Object.entries(optimizer.stateDict?.() ?? {});
  return Object.fromEntries(entries.filter((entry): entry is [string, Tensor] => entry[1] instanceof Tensor));
}
