// What a shared library of Linux says of itself (System V ABI, 64 bits), read from its sections.
import { range, reader } from './bytes.mjs';

const ARCHITECTURES = { 62: 'x64', 183: 'arm64' };
const DYNAMIC = 6;
const DYNAMIC_SYMBOLS = 11;
const VERSIONS_NEEDED = 0x6ffffffe;
const VERSION_OF_SYMBOL = 0x6fffffff;
const NEEDED = 1;
const SYMBOL_BYTES = 24;

export const isElf = (buffer) => buffer.readUInt32BE(0) === 0x7f454c46;

export function readElf(buffer) {
  const { u8, u16, u32, u64, text } = reader(buffer);
  const sections = range(u16(60), u16(58), u64(40)).map((at) => ({
    type: u32(at + 4),
    offset: u64(at + 24),
    bytes: u64(at + 32),
    link: u32(at + 40),
  }));
  const find = (type) => sections.find((section) => section.type === type);
  const entries = (section, bytes) => (section ? range(section.bytes / bytes, bytes, section.offset) : []);

  const dynamic = find(DYNAMIC);
  const needed = entries(dynamic, 16)
    .filter((at) => u64(at) === NEEDED)
    .map((at) => text(sections[dynamic.link].offset + u64(at + 8)));

  // The versions that are asked for, by the number under which symbols refer to them.
  const versions = new Map();
  const wanted = find(VERSIONS_NEEDED);
  for (let at = wanted?.offset, next = 1; at !== undefined && next; at += next) {
    next = u32(at + 12);
    let version = at + u32(at + 8);
    for (const _ of range(u16(at + 2))) {
      versions.set(u16(version + 6), text(sections[wanted.link].offset + u32(version + 8)));
      version += u32(version + 12);
    }
  }

  const table = find(DYNAMIC_SYMBOLS);
  const numbers = find(VERSION_OF_SYMBOL);
  const symbols = entries(table, SYMBOL_BYTES)
    .map((at, i) => ({
      name: text(sections[table.link].offset + u32(at)),
      weak: u8(at + 4) >> 4 === 2,
      defined: u16(at + 6) !== 0,
      version: numbers && versions.get(u16(numbers.offset + 2 * i)),
    }))
    .filter(({ name }) => name !== '');
  return {
    format: 'ELF',
    arch: ARCHITECTURES[u16(18)],
    needed,
    exports: symbols.filter(({ defined }) => defined).map(({ name }) => name),
    imports: symbols
      .filter(({ defined }) => !defined)
      .map(({ name, weak, version }) => ({ name, weak, version })),
  };
}
