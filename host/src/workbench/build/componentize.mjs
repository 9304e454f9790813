// Makes a component of the JavaScript in this folder: [tools, output] => the file output.
//
// All features are off, so that the component imports no WASI: there is no clock, no network, no file and no
// random number for a rule.

import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [tools, output] = process.argv.slice(-2);
const { resolve: find } = createRequire(pathToFileURL(resolve(tools, 'package.json')));
const { componentize } = await import(pathToFileURL(find('@bytecodealliance/componentize-js')));

const { main = 'rule.js' } = JSON.parse(await readFile('package.json', 'utf8'));
const { component } = await componentize({
  sourcePath: main,
  witPath: 'wit',
  disableFeatures: ['random', 'stdio', 'clocks', 'http', 'fetch-event'],
});
await writeFile(output, component);
