import type { DeviceInfo } from '../native/index.js';
import { inspect } from '../native/index.js';
import type { MemoryPoolStatistics } from '../tensor/index.js';
import { type Finding, formatFindings } from '../text/index.js';
import type { Numbers } from './numbers.js';
import type { TrainingMetrics } from './training-metrics.js';

/** What stands behind the findings. */
export interface DiagnosisData {
  readonly device: DeviceInfo;
  readonly pools: Readonly<Record<string, MemoryPoolStatistics>>;
  /** By the names of the tensors that were looked at. */
  readonly numbers: Readonly<Record<string, Numbers>>;
  /** Of the monitor, where one was given. */
  readonly training: TrainingMetrics | undefined;
}

/** What `diagnose` found: as data, and as a table where it is printed. */
export class Diagnosis {
  readonly findings: readonly Finding[];
  readonly data: DiagnosisData;

  constructor(findings: readonly Finding[], data: DiagnosisData) {
    this.findings = findings;
    this.data = data;
  }

  toString(): string {
    return formatFindings(this.findings);
  }

  [inspect.custom](): string {
    return this.toString();
  }
}
