// What a library of Windows says of itself (PE/COFF, 64 bits).
import { range, reader } from './bytes.mjs';

const ARCHITECTURES = { 34404: 'x64', 43620: 'arm64' };
const DIRECTORIES = 112; // from the beginning of the optional header on
const EXPORTS = 0;
const IMPORTS = 1;
const DELAYED_IMPORTS = 13;
const BY_NUMBER = 0x80000000;

export const isPe = (buffer) => buffer.toString('latin1', 0, 2) === 'MZ';

export function readPe(buffer) {
  const { u16, u32, text } = reader(buffer);
  const header = u32(60) + 4;
  const optional = header + 20;
  const sections = range(u16(header + 2), 40, optional + u16(header + 16)).map((at) => ({
    address: u32(at + 12),
    bytes: Math.max(u32(at + 8), u32(at + 16)),
    offset: u32(at + 20),
  }));
  const inFile = (address) => {
    const section = sections.find(({ address: start, bytes }) => address >= start && address < start + bytes);
    return section.offset + address - section.address;
  };
  const directory = (index) => u32(optional + DIRECTORIES + 8 * index);

  /** One entry for each library, `bytes` apart, up to one without a name. */
  const libraries = (index, bytes, nameAt, functionsAt) => {
    const found = [];
    if (directory(index) === 0) return found;
    for (let at = inFile(directory(index)); u32(at + nameAt) !== 0; at += bytes) {
      found.push({ library: text(inFile(u32(at + nameAt))), functions: functions(u32(at + functionsAt)) });
    }
    return found;
  };
  const functions = (table) => {
    const names = [];
    for (let at = inFile(table); u32(at) !== 0 || u32(at + 4) !== 0; at += 8) {
      names.push(u32(at + 4) === BY_NUMBER ? `#${u16(at)}` : text(inFile(u32(at)) + 2));
    }
    return names;
  };

  const imported = [...libraries(IMPORTS, 20, 12, 0), ...libraries(DELAYED_IMPORTS, 32, 4, 16)];
  const exported = directory(EXPORTS) && inFile(directory(EXPORTS));
  return {
    format: 'PE',
    arch: ARCHITECTURES[u16(header)],
    needed: imported.map(({ library }) => library),
    exports: exported
      ? range(u32(exported + 24), 4, inFile(u32(exported + 32))).map((at) => text(inFile(u32(at))))
      : [],
    imports: imported.flatMap(({ library, functions }) => functions.map((name) => ({ name, library }))),
  };
}
