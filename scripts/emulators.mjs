// Nodes of other platforms that this machine (x64, Linux) can run: for arm64 under qemu, for Windows under wine.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { nodeBinary } from './nodes.mjs';
import { root } from './shared.mjs';

export const answers = (tool) => spawnSync(tool, ['--version']).status === 0;

// By its path: tests start it without a PATH, too.
const QEMU = ['/usr/bin/qemu-aarch64', 'qemu-aarch64'].find(answers);
const WINE = ['wine64', '/usr/lib/wine/wine64'].find(answers);

/** By target: its name, whether this machine has it, the command that is Node, the variables it needs, its paths. */
export const EMULATORS = {
  'linux-arm64': {
    what: 'Node for arm64 under qemu',
    installed: QEMU !== undefined,
    command: () => [QEMU, '-L', '/usr/aarch64-linux-gnu', nodeBinary('linux-arm64', 20)],
    env: {},
    path: (file) => file,
  },
  // Its output goes to a file: wine has no pipes to print to.
  'win32-x64': {
    what: 'Node for Windows under wine',
    installed: WINE !== undefined,
    command: () => [WINE, nodeBinary('win-x64', 20)],
    env: { NODE_SKIP_PLATFORM_CHECK: '1', WINEDEBUG: '-all', WINEPREFIX: join(root, 'build/wine') },
    path: (file) => `Z:${file.replaceAll('/', '\\')}`,
  },
};
