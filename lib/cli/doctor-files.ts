import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Finding } from '../text/index.js';
import type { Library } from './doctor.js';

/** Writes tensors to a file in the folder for temporary files, and reads them back. */
export async function files({ readSafetensors, writeSafetensors }: Library): Promise<Finding> {
  const subject = 'files';
  const data = Float32Array.from({ length: 1000 }, (_, i) =>
    Math.fround(Math.sin(i) * 10 ** ((i % 60) - 30)),
  );
  try {
    const folder = await mkdtemp(join(tmpdir(), 'drivetrain-doctor-'));
    try {
      const file = join(folder, 'tensors.safetensors');
      await writeSafetensors(file, { values: { dtype: 'f32', shape: [10, 100], data } });
      const { values } = (await readSafetensors(file)).tensors;
      const same = Buffer.compare(Buffer.from(data.buffer), Buffer.from(values!.toArray().buffer)) === 0;
      values!.dispose();
      if (same)
        return {
          status: 'ok',
          subject,
          found: `safetensors written to ${tmpdir()} and read back, the same bits`,
        };
      return {
        status: 'problem',
        subject,
        found: `what was written to ${tmpdir()} was read back with other bits`,
        advice: 'Look at the disk: its system may know of errors (dmesg, smartctl).',
      };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  } catch (error) {
    return {
      status: 'problem',
      subject,
      found: (error as Error).message,
      advice: `Make ${tmpdir()} writable, or name another folder by ${process.platform === 'win32' ? 'TEMP' : 'TMPDIR'}.`,
    };
  }
}
