// Reads what a binary says of itself: format, architecture, the libraries it needs, what it exports and imports.
import { readFileSync } from 'node:fs';
import { isElf, readElf } from './elf.mjs';
import { isMachO, readMachO } from './macho.mjs';
import { isPe, readPe } from './pe.mjs';

export function readBinary(file) {
  const buffer = readFileSync(file);
  if (isElf(buffer)) return readElf(buffer);
  if (isPe(buffer)) return readPe(buffer);
  if (isMachO(buffer)) return readMachO(buffer);
  throw new Error(`${file} is no binary of Linux, Windows or macOS`);
}
