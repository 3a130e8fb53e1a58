export { binding, type DeviceInfo, Status } from './binding.js';
export { commandPage, type Refusal, readRefusal } from './command-page.js';
export { device } from './device.js';
export { DrivetrainError, type ErrorCode } from './errors.js';
export { inspect } from './inspect.js';
export type { TypedArray } from './typed-array.js';
export { stackHere, usersFrame } from './users-frame.js';
