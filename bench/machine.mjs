// The machine's line.
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { drivetrain } from './ours.mjs';

function governor() {
  try {
    return readFileSync('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor', 'utf8').trim();
  } catch {
    return 'unknown';
  }
}

export function describeMachine() {
  const { isa, isas, processors } = drivetrain.device.info();
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    isa,
    isas,
    threads: processors,
    governor: governor(),
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
  };
}

export const machineLine = ({ cpu, isa, threads, governor, node, platform }) =>
  `${cpu}, ${isa}, ${threads} ${threads === 1 ? 'thread' : 'threads'}, governor ${governor}, Node ${node}, ${platform}`;
