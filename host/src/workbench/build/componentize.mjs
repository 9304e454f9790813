// Makes a component of the JavaScript in this folder: [tools, output] => the file output.
//
// All features are off, so that the component imports no WASI: there is no clock, no network, no file and no
// random number for a rule.

import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [tools, output] = process.argv.slice(-2);
// Only packages beside this script could be imported by name, and it has no place of its own.
const folder = resolve(tools, 'node_modules/@bytecodealliance/componentize-js');
const { exports } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
const { componentize } = await import(pathToFileURL(join(folder, exports.import)));

const { main = 'rule.js' } = JSON.parse(await readFile('package.json', 'utf8'));
const { component } = await componentize({
  sourcePath: main,
  witPath: 'wit',
  disableFeatures: ['random', 'stdio', 'clocks', 'http', 'fetch-event'],
});
await writeFile(output, component);
