#!/usr/bin/env node
// What prebuildify starts in place of node-gyp: CMake with the cross compiler. The addon goes where prebuildify looks
// for it, build/Release in its working folder.
import { join } from 'node:path';
import { build, configure } from './native.mjs';
import { main, root, step } from './shared.mjs';

// Zig keeps the libraries that it compiles for a target; its default place is in a home folder, which may be missing.
const cache = join(root, 'build-prebuild/zig-cache');
process.env.ZIG_GLOBAL_CACHE_DIR = cache;
process.env.ZIG_LOCAL_CACHE_DIR = cache;

const target = `${process.env.PREBUILD_PLATFORM}-${process.env.PREBUILD_ARCH}`;
const folder = join(process.cwd(), 'build');

await main(() => {
  step(target, () => {
    configure(folder, {
      CMAKE_TOOLCHAIN_FILE: join(root, 'toolchain/zig.cmake'),
      DRIVETRAIN_TARGET: target,
      // Windows' libraries count as programs.
      CMAKE_RUNTIME_OUTPUT_DIRECTORY: join(folder, 'Release'),
    });
    build(folder, 'drivetrain');
  });
});
