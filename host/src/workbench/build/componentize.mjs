// Makes a component of JavaScript: [folder, output] => the file output. It runs where the package is.
//
// All features are off, so that the component imports no WASI: there is no clock, no network, no file and no
// random number for a rule.

import { readFile, writeFile } from 'node:fs/promises';

import { componentize } from '@bytecodealliance/componentize-js';

const [folder, output] = process.argv.slice(-2);
process.chdir(folder);
const { main = 'rule.js' } = JSON.parse(await readFile('package.json', 'utf8'));
const { component } = await componentize({
  sourcePath: main,
  witPath: 'wit',
  disableFeatures: ['random', 'stdio', 'clocks', 'http', 'fetch-event'],
});
await writeFile(output, component);
