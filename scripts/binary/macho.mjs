// What a library of macOS says of itself (Mach-O, 64 bits, for one architecture).
import { range, reader } from './bytes.mjs';

const ARCHITECTURES = { 16777223: 'x64', 16777228: 'arm64' };
const SYMBOLS = 0x02;
const LIBRARY = 0x0c;
const SIGNATURE = 0x1d;
const BUILD_VERSION = 0x32;
const EXTERNAL = 0x01;
const DEFINED = 0x0e;
const DEBUGGING = 0xe0;
const LOOKED_UP = 0xfe; // in whatever is loaded, when the library is

export const isMachO = (buffer) => buffer.readUInt32LE(0) === 0xfeedfacf;

export function readMachO(buffer) {
  const { u8, u16, u32, text } = reader(buffer);
  const commands = [];
  for (let at = 32, i = 0; i < u32(16); i++, at += u32(at + 4)) commands.push({ type: u32(at), at });
  const find = (type) => commands.find((command) => command.type === type)?.at;
  const needed = commands.filter(({ type }) => type === LIBRARY).map(({ at }) => text(at + u32(at + 8)));

  const table = find(SYMBOLS);
  const symbols = range(u32(table + 12), 16, u32(table + 8))
    .filter((at) => u8(at + 4) & EXTERNAL && !(u8(at + 4) & DEBUGGING))
    .map((at) => ({
      name: text(u32(table + 16) + u32(at)).replace(/^_/, ''),
      defined: (u8(at + 4) & DEFINED) !== 0,
      ordinal: u16(at + 6) >> 8,
    }));
  const version = u32(find(BUILD_VERSION) + 12);
  return {
    format: 'Mach-O',
    arch: ARCHITECTURES[u32(4)],
    needed,
    signed: find(SIGNATURE) !== undefined,
    system: [version >> 16, (version >> 8) & 0xff],
    exports: symbols.filter(({ defined }) => defined).map(({ name }) => name),
    imports: symbols
      .filter(({ defined }) => !defined)
      .map(({ name, ordinal }) => ({
        name,
        library: ordinal === LOOKED_UP ? undefined : needed[ordinal - 1],
      })),
  };
}
