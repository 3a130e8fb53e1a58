// The platforms that prebuilt binaries are for, named as Node names them, with musl's as a third part.
import { join } from 'node:path';
import { root } from './shared.mjs';

export const TARGETS = [
  'linux-x64',
  'linux-arm64',
  'linux-x64-musl',
  'linux-arm64-musl',
  'win32-x64',
  'win32-arm64',
  'darwin-x64',
  'darwin-arm64',
];

export const prebuiltFile = (target) => join(root, 'prebuilds', target, 'drivetrain.node');
