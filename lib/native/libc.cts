import fs = require('node:fs');

const HEADER_BYTES = 4096;

/** The first bytes of a file; undefined where it cannot be read. */
function readHeader(file: string): Uint8Array | undefined {
  try {
    const descriptor = fs.openSync(file, 'r');
    try {
      const bytes = new Uint8Array(HEADER_BYTES);
      return bytes.subarray(0, fs.readSync(descriptor, bytes));
    } finally {
      fs.closeSync(descriptor);
    }
  } catch {
    return undefined;
  }
}

/** True if a Linux program with this header is started by musl's loader, whose path stands near its beginning. */
function startsWithMusl(header: Uint8Array): boolean {
  return Buffer.from(header).includes('/ld-musl-');
}

function reportedGlibc(): string | undefined {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime;
}

/** Whether this Node runs on musl; found without a process or a report, which takes milliseconds. */
function runsOnMusl(): boolean {
  if (process.platform !== 'linux') return false;
  const header = readHeader(process.execPath);
  return header ? startsWithMusl(header) : reportedGlibc() === undefined;
}

/** The C library and its version, for messages. */
function libcName(): string | undefined {
  if (process.platform !== 'linux') return undefined;
  const version = reportedGlibc();
  return version === undefined ? 'musl' : `glibc ${version}`;
}

export = { libcName, readHeader, runsOnMusl, startsWithMusl };
