// What a prebuilt binary may ask of the system that loads it: its C library, of a version that old systems have, and
// Node itself.
//   node scripts/check-binary.mjs [TARGET]...
import { readBinary } from './binary/index.mjs';
import { main, StepError } from './shared.mjs';
import { prebuiltFile, TARGETS } from './targets.mjs';

const GLIBC = /^(lib(c|m|pthread|dl)\.so\.\d|ld-linux-(x86-64|aarch64)\.so\.\d)$/;
const GLIBC_LIMIT = [2, 17];
const MUSL = /^libc\.so$/;
const WINDOWS = /^(kernel32|ntdll|advapi32|msvcrt|ucrtbase|api-ms-win-crt-[a-z]+-l1-1-0)\.dll$/i;
const MACOS = /^\/usr\/lib\/libSystem\.B\.dylib$/;
const MACOS_LIMIT = [11, 0];
const ENTRIES = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];
const NODE_API = /^(napi|node_api)_/;
/** Weak symbols that C libraries or tools may give, or not. */
const OPTIONAL = [
  '__gmon_start__',
  '__cxa_thread_atexit_impl',
  '_ITM_registerTMCloneTable',
  '_ITM_deregisterTMCloneTable',
];

const compare = ([a, b], [c, d]) => a - c || b - d;

/** The newest glibc among the versions of a binary's symbols. */
export function newestGlibc({ imports }) {
  return imports
    .map(({ version }) => /^GLIBC_(\d+)\.(\d+)/.exec(version ?? ''))
    .filter(Boolean)
    .map(([, major, minor]) => [Number(major), Number(minor)])
    .sort(compare)
    .at(-1);
}

/** What is wrong with a binary. Each system's rules name its format, the libraries allowed, and imports that nobody has. */
function faults(binary, target) {
  const [platform, arch, libc] = target.split('-');
  const rules = { linux: libc ? musl : glibc, win32: windows, darwin: macos }[platform];
  const { format, libraries, foreign, more = [] } = rules(binary);
  const found = [];
  if (binary.format !== format) return [`is ${binary.format}, not ${format}`];
  if (binary.arch !== arch) found.push(`is for ${binary.arch}, not ${arch}`);
  const strange = binary.needed.filter((library) => !libraries.test(library));
  if (strange.length) found.push(`needs ${strange.join(', ')}, which a system may lack`);
  const lacking = ENTRIES.filter((name) => !binary.exports.includes(name));
  if (lacking.length) found.push(`does not export ${lacking.join(', ')}`);
  const unknown = binary.imports.filter((symbol) => !OPTIONAL.includes(symbol.name) && foreign(symbol));
  if (unknown.length)
    found.push(`needs ${unknown.map(({ name }) => name).join(', ')}, which an old system lacks`);
  return [...found, ...more];
}

/** Of Linux: nothing of the C++ library may be visible, or Node's own could take its place. */
const visible = ({ exports }) => {
  const others = exports.filter((name) => !ENTRIES.includes(name));
  return others.length ? [`exports ${others.slice(0, 5).join(', ')} as well`] : [];
};

// Node provides its own interface. Anything else without a version is a function that the oldest glibc lacks.
function glibc(binary) {
  const version = newestGlibc(binary);
  const tooNew = version && compare(version, GLIBC_LIMIT) > 0;
  return {
    format: 'ELF',
    libraries: GLIBC,
    foreign: ({ name, version }) => !version && !NODE_API.test(name),
    more: [
      ...(tooNew ? [`needs glibc ${version.join('.')}; the limit is ${GLIBC_LIMIT.join('.')}`] : []),
      ...visible(binary),
    ],
  };
}

/** musl's symbols have no versions, so what glibc or the C++ library alone have is known by name. */
const musl = (binary) => ({
  format: 'ELF',
  libraries: MUSL,
  foreign: ({ name, version }) => version || /^(_Z|__cxa_(?!atexit|finalize)|_Unwind|__.*_chk$)/.test(name),
  more: visible(binary),
});

/** Node's functions are looked up by the addon itself, so that all imports are the system's. */
const windows = () => ({
  format: 'PE',
  libraries: WINDOWS,
  foreign: ({ name }) => NODE_API.test(name),
});

const macos = ({ system, signed, arch }) => ({
  format: 'Mach-O',
  libraries: MACOS,
  foreign: ({ name, library }) =>
    library ? !MACOS.test(library) : !NODE_API.test(name) && name !== 'dyld_stub_binder',
  more: [
    ...(system && compare(system, MACOS_LIMIT) > 0 ? [`needs macOS ${system.join('.')}`] : []),
    // macOS loads no unsigned code on Apple's processors.
    ...(arch === 'arm64' && !signed ? ['is not signed'] : []),
  ],
});

/** Complains of everything in a binary for `target` that an old system could not give it. */
export function checkBinary(file, target) {
  const found = faults(readBinary(file), target);
  if (found.length) throw new StepError(found.map((fault) => `${file} ${fault}`).join('\n'));
}

if (process.argv[1] === import.meta.filename) {
  const targets = process.argv.length > 2 ? process.argv.slice(2) : TARGETS;
  await main(() => {
    for (const target of targets) {
      const file = prebuiltFile(target);
      checkBinary(file, target);
      const { arch, needed, format, ...binary } = readBinary(file);
      const glibc = newestGlibc(binary)?.join('.');
      console.log(
        [target, format, arch, needed.join(' '), glibc && `glibc ${glibc}`].filter(Boolean).join('  '),
      );
    }
  });
}
