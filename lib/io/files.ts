import { constants, type FileHandle, mkdir, open, rename, unlink } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DrivetrainError } from '../native/index.js';

/** One system call moves at most this much: calls stay short and below the 2 GiB that systems allow. */
const CHUNK_BYTES = 16 * 1024 * 1024;

/** Without O_NONBLOCK, which Windows lacks and files ignore, opening a named pipe would wait for a writer. */
const READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** What Windows says of a file that is in use, among other things. */
const IN_USE: ReadonlySet<string> = new Set(['EPERM', 'EACCES', 'EBUSY']);
const RENAME_PAUSE_MS = 10;
const RENAME_PATIENCE_MS = 5000;

/** Opens `path`, calls `use` with it and its length in bytes, and closes it. `DT_NOT_FOUND`, `DT_IO`. */
export async function withFile<T>(
  path: string,
  use: (file: FileHandle, bytes: number) => Promise<T>,
): Promise<T> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, READ);
    const status = await file.stat();
    if (!status.isFile()) {
      throw new DrivetrainError(
        'DT_IO',
        `Expected ${path} to be a file but it is a directory, a pipe or a device.`,
      );
    }
    return await use(file, status.size);
  } catch (error) {
    throw asFileError(error, 'read', path);
  } finally {
    await file?.close();
  }
}

/** Fills `bytes` from `position` on; how many there were, fewer than asked for only at the end of the file. */
export async function readInto(file: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < bytes.length) {
    const length = Math.min(bytes.length - done, CHUNK_BYTES);
    const { bytesRead } = await file.read(bytes, done, length, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/**
 * Writes a file whole or not at all: to a temporary file beside it (`.drivetrain-<pid>-<random>.tmp`), flushed to
 * the disk, which then takes the target's name in one step; at last the directory is flushed. Readers see the old
 * file or the new one. A crash may leave the temporary file, never a part of the target. `DT_NOT_FOUND`, `DT_IO`.
 */
export async function writeAtomically(path: string, parts: Iterable<Uint8Array>): Promise<void> {
  const { randomBytes } = process.getBuiltinModule('node:crypto');
  const directory = dirname(path);
  const temporary = join(directory, `.drivetrain-${process.pid}-${randomBytes(6).toString('hex')}.tmp`);
  let file: FileHandle | undefined;
  try {
    file = await open(temporary, 'wx');
    for (const part of parts) await writeFully(file, part);
    await file.sync();
    await file.close();
    await renameInUse(temporary, path);
    await syncDirectory(directory);
  } catch (error) {
    await file?.close().catch(() => {});
    if (file !== undefined) await unlink(temporary).catch(() => {});
    throw asFileError(error, 'write', path);
  }
}

/** Makes a folder, and those that it lies in, where it is missing. `DT_IO`. */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    throw asFileError(error, 'write', path);
  }
}

async function writeFully(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, Math.min(bytes.length - done, CHUNK_BYTES));
    done += bytesWritten;
  }
}

/**
 * Renames a file or folder, also where others read it or what it replaces. Windows refuses that while they have it open,
 * and while it is looked at for viruses: there it is tried again for some seconds.
 */
export async function renameInUse(from: string, to: string): Promise<void> {
  const end = performance.now() + RENAME_PATIENCE_MS;
  for (;;) {
    try {
      return await rename(from, to);
    } catch (error) {
      const inUse = process.platform === 'win32' && IN_USE.has((error as NodeJS.ErrnoException).code ?? '');
      if (!inUse || performance.now() >= end) throw error;
      await sleep(RENAME_PAUSE_MS);
    }
  }
}

/** Without it a power cut may undo the rename. Windows cannot open directories, and needs no such thing. */
export async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** What the file system said, in the one error class; other errors as they are. */
export function asFileError(error: unknown, verb: string, path: string): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined) return error;
  if (code === 'ENOENT') {
    const missing = verb === 'read' ? path : `${dirname(path)}, the directory of ${path},`;
    const begin = isAbsolute(path) ? '' : `; relative paths begin at ${process.cwd()}`;
    return new DrivetrainError('DT_NOT_FOUND', `Expected ${missing} to exist but it does not${begin}.`, {
      cause: error,
    });
  }
  return new DrivetrainError('DT_IO', `Could not ${verb} ${path}: ${(error as Error).message}.`, {
    cause: error,
  });
}
