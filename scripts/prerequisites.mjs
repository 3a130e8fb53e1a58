// What a source build needs, and the line that installs what is missing on this system.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { StepError } from './shared.mjs';

const NODE = [20, 19];
const CMAKE = [3, 18];

const INSTALLERS = [
  { systems: /debian|ubuntu/, command: 'apt-get install -y', compiler: 'g++', cmake: 'cmake', make: 'make' },
  {
    systems: /fedora|rhel|centos/,
    command: 'dnf install -y',
    compiler: 'gcc-c++',
    cmake: 'cmake',
    make: 'make',
  },
  { systems: /arch/, command: 'pacman -S --needed', compiler: 'gcc', cmake: 'cmake', make: 'make' },
  { systems: /alpine/, command: 'apk add', compiler: 'g++', cmake: 'cmake', make: 'make' },
  { systems: /suse/, command: 'zypper install -y', compiler: 'gcc-c++', cmake: 'cmake', make: 'make' },
];

const atLeast = (version, [major, minor]) => {
  const [ours, oursMinor] = version.split('.').map(Number);
  return ours > major || (ours === major && oursMinor >= minor);
};

const answers = (command, args, input) => {
  const result = spawnSync(command, args, { input, encoding: 'utf8' });
  return result.status === 0 ? result.stdout : undefined;
};

export function checkNode() {
  if (atLeast(process.versions.node, NODE)) return;
  const found = `drivetrain needs Node ${NODE.join('.')} or later; this is ${process.versions.node}.`;
  throw new StepError(
    `${found}\nInstall a current one from https://nodejs.org, or with your version manager.`,
  );
}

function hasCompiler() {
  if (process.platform === 'win32') return answers('clang-cl', ['--version']) !== undefined;
  const candidates = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++'];
  const args = ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-'];
  return candidates.some((compiler) => answers(compiler, args, '#include <concepts>\n') !== undefined);
}

const hasCMake = () => {
  const version = /version (\S+)/.exec(answers('cmake', ['--version']) ?? '')?.[1];
  return version !== undefined && atLeast(version, CMAKE);
};

// Visual Studio's generator brings its own build program.
const hasMake = () =>
  process.platform === 'win32' ||
  ['ninja', 'make'].some((program) => answers(program, ['--version']) !== undefined);

/** The command that installs `missing` (of 'compiler', 'cmake', 'make') on this system. */
export function installLine(missing, system = systemName()) {
  if (system === 'darwin') {
    const wanted = missing.map((need) =>
      need === 'cmake' ? 'brew install cmake' : 'xcode-select --install',
    );
    return [...new Set(wanted)].join(' && ');
  }
  if (system === 'win32') {
    const ids = { compiler: 'LLVM.LLVM Microsoft.VisualStudio.2022.BuildTools', cmake: 'Kitware.CMake' };
    return `winget install ${missing.map((need) => ids[need]).join(' ')}`;
  }
  const installer = INSTALLERS.find(({ systems }) => systems.test(system));
  if (!installer) return 'Install GCC 10 or clang 12 (or later), CMake 3.18 (or later) and make.';
  const sudo = process.getuid() === 0 ? '' : 'sudo ';
  return `${sudo}${installer.command} ${missing.map((need) => installer[need]).join(' ')}`;
}

function systemName() {
  if (process.platform !== 'linux' || !existsSync('/etc/os-release')) return process.platform;
  const text = readFileSync('/etc/os-release', 'utf8');
  return [...text.matchAll(/^ID(?:_LIKE)?=(.*)$/gm)].map((match) => match[1]).join(' ');
}

export function checkBuildTools() {
  const needs = [
    { need: 'compiler', what: 'a C++20 compiler (GCC or clang; CXX names one)', found: hasCompiler },
    { need: 'cmake', what: `CMake ${CMAKE.join('.')} or later`, found: hasCMake },
    { need: 'make', what: 'make or ninja', found: hasMake },
  ];
  const missing = needs.filter(({ found }) => !found());
  if (missing.length === 0) return;
  const list = missing.map(({ what }) => `  - ${what}`).join('\n');
  const line = installLine(missing.map(({ need }) => need));
  throw new StepError(
    `Building the native addon needs what is not there yet:\n${list}\nInstall it with:\n  ${line}`,
  );
}
