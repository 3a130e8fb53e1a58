export { type Finding, formatFindings } from './findings.js';
export { nearest, perhapsMeant } from './nearest.js';
export { bytes, percent } from './quantities.js';
export { escaped, type Output, pad, paint, type Style, styleOf, unpainted, widthOf } from './style.js';
export { formatNumber, heading, keyValues, table } from './terminal.js';
