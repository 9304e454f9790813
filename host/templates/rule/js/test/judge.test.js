import assert from 'node:assert/strict';
import { test } from 'node:test';

import { judge, readSettings } from '../judge.js';

const settings = { hosts: ['registry.example.com'] };

test('allows a known registry', () => {
  assert.deepEqual(judge({ repository: 'registry.example.com/ns/app' }, settings), []);
});

test('denies a registry whose name only begins like a known one', () => {
  const [reason] = judge({ repository: 'registry.example.com.evil.example/ns/app' }, settings);
  assert.equal(reason.code, 'registry-unknown');
});

test('denies what has no registry', () => {
  assert.equal(judge({}, settings)[0].code, 'registry-missing');
});

test('finds mistakes in settings', () => {
  for (const text of ['{}', 'null', '{"hosts":[]}', '{"hosts":[1]}', '{"hosts":"a"}']) {
    assert.equal(readSettings(text).mistakes.length, 1, text);
  }
});
