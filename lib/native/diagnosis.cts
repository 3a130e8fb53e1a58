// Why a native addon did not load, in words, and what to do about it.

/** What the diagnosis depends on besides the error. */
type System = {
  platform: string;
  arch: string;
  /** 'glibc 2.36', 'musl', or undefined where the platform has neither. */
  libc: string | undefined;
  node: string;
};

type Failure = { file: string; error: unknown; header: Uint8Array | undefined };

const ERROR_TEXT_LIMIT = 300;

const ELF = new Map([
  [62, 'x64'],
  [183, 'arm64'],
]);
const PE = new Map([
  [0x8664, 'x64'],
  [0xaa64, 'arm64'],
]);
const MACH_O = new Map([
  [0x01000007, 'x64'],
  [0x0100000c, 'arm64'],
]);
const MACH_O_MAGIC = 0xfeedfacf;
const ELF_MAGIC = 0x464c457f;

/** The platform that a binary is for, as Node names it, by its first bytes; undefined for anything else. */
function platformOf(header: Uint8Array): string | undefined {
  if (header.length < 64) return undefined;
  const view = new DataView(header.buffer, header.byteOffset, header.length);
  const magic = view.getUint32(0, true);
  if (magic === ELF_MAGIC) return `linux-${ELF.get(view.getUint16(18, true)) ?? 'other'}`;
  if (magic === MACH_O_MAGIC) return `darwin-${MACH_O.get(view.getUint32(4, true)) ?? 'other'}`;
  const at = view.getUint32(60, true);
  if (view.getUint16(0, true) !== 0x5a4d || at + 6 > header.length) return undefined;
  return `win32-${PE.get(view.getUint16(at + 4, true)) ?? 'other'}`;
}

/** Known causes: what the system says, what it means, and what helps. */
const CAUSES: { says: RegExp; means: (match: RegExpExecArray, system: System) => string; advice?: string }[] =
  [
    {
      says: /ERR_DLOPEN_DISABLED/,
      means: () => 'Node was told to load no addons (--no-addons or the permission model)',
      advice: 'run node without --no-addons; under the permission model add --allow-addons',
    },
    {
      says: /ERR_ACCESS_DENIED/,
      means: () => "Node's permission model does not let it be read",
      advice: 'add --allow-addons and --allow-fs-read with the folder of the package',
    },
    {
      says: /version `?GLIBC_(\d[\d.]*)'? not found/,
      means: ([, needed], { libc }) => `it needs glibc ${needed}, and this system has ${libc ?? 'none'}`,
      advice: 'use a system with a newer glibc, or build it on this one: `npx drivetrain build`',
    },
    {
      says: /GLIBCXX_|CXXABI_|libstdc\+\+/,
      means: () => "it was built against another system's C++ library",
      advice: 'use a prebuilt binary, which carries its own, or build it on this system',
    },
    {
      says: /ld-linux|libc\.so\.6|libc\.so: |Error relocating|symbol not found/,
      means: (_, { libc }) => `it is for another C library than this system's (${libc ?? 'unknown'})`,
      advice: 'glibc and musl need binaries of their own: install the package on the system that runs it',
    },
    {
      says: /failed to map segment|Operation not permitted|EPERM|Permission denied|EACCES/i,
      means: () => 'the system does not let it be run',
      advice: 'install into a folder that is not mounted noexec, and that this user may read',
    },
    {
      says: /code signature|system policy|library load denied/i,
      means: () => 'macOS refuses it by policy',
      advice: 'remove the quarantine mark with `xattr -d com.apple.quarantine` on the file',
    },
    {
      says: /Application Control|group policy|blocked/i,
      means: () => 'a policy of this Windows blocks it',
      advice: 'ask the administrator to allow drivetrain.node',
    },
  ];

/** Reason in words, and advice where there is any. */
function explain({ error, header }: Failure, system: System): { reason: string; advice?: string } {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'MODULE_NOT_FOUND' || code === 'ENOENT') return { reason: 'not there' };
  const said = String(message).slice(0, ERROR_TEXT_LIMIT);
  const own = `${system.platform}-${system.arch}`;
  const found = header && platformOf(header);
  if (found !== undefined && found !== own) {
    return {
      reason: `it is for ${found}`,
      advice: `install the package on the system that runs it (${own})`,
    };
  }
  for (const { says, means, advice } of CAUSES) {
    const match = says.exec(`${code ?? ''} ${said}`);
    if (match) return { reason: `${means(match, system)} (${said})`, ...(advice && { advice }) };
  }
  return { reason: said };
}

/** The whole message: where it ran, what was tried and why that failed, what to do. */
function diagnose(failures: Failure[], system: System): string {
  const where = [`${system.platform}-${system.arch}`, system.libc, `Node ${system.node}`].filter(Boolean);
  const explained = failures.map((failure) => ({ file: failure.file, ...explain(failure, system) }));
  const advice = new Set(explained.flatMap((failure) => failure.advice ?? []));
  return [
    `The native addon of drivetrain could not be loaded on ${where.join(', ')}. Tried:`,
    ...explained.map(({ file, reason }) => `  - ${file}: ${reason}`),
    'Possible solutions:',
    ...[...advice].map((line) => `  - ${line}`),
    '  - prebuilt binaries are made for Linux (glibc 2.17 or later, musl), Windows and macOS on x64 and arm64; elsewhere',
    '    `npx drivetrain build` compiles one (it needs a C++20 compiler and CMake)',
    '  - set DRIVETRAIN_BINARY to the path of a drivetrain.node built elsewhere for this platform',
  ].join('\n');
}

export = { diagnose, explain, platformOf };
