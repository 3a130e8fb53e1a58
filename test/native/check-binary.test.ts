import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readBinary } from '../../scripts/binary/index.mjs';
import { checkBinary } from '../../scripts/check-binary.mjs';

const own = join(import.meta.dirname, '../../build/Release/drivetrain.node');
const linux = process.platform === 'linux' && process.arch === 'x64' && existsSync(own);

test.runIf(linux)("a build with this system's compiler is read: what it exports and imports", () => {
  const { format, arch, exports, imports } = readBinary(own) as {
    format: string;
    arch: string;
    exports: string[];
    imports: { name: string; version?: string }[];
  };
  expect({ format, arch }).toEqual({ format: 'ELF', arch: 'x64' });
  expect(exports.sort()).toEqual(['napi_register_module_v1', 'node_api_module_get_api_version_v1']);
  expect(imports.find(({ name }) => name === 'napi_create_function')?.version).toBeUndefined();
  expect(imports.find(({ name }) => name === 'malloc')?.version).toMatch(/^GLIBC_/);
});

test.runIf(linux)('a binary for another target is refused, by its architecture, format and C library', () => {
  expect(() => checkBinary(own, 'linux-arm64')).toThrow('is for x64, not arm64');
  expect(() => checkBinary(own, 'win32-x64')).toThrow('is ELF, not PE');
  expect(() => checkBinary(own, 'linux-x64-musl')).toThrow('which a system may lack');
});

test.runIf(linux)('a program is no addon', () => {
  expect(() => checkBinary(process.execPath, 'linux-x64')).toThrow('does not export');
});
