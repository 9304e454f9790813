import assert from 'node:assert/strict';
import { test } from 'node:test';

import { DEFAULTS, judge, matches, readSettings } from '../judge.js';
import { SETTINGS_SCHEMA } from '../schema.js';

const DIGEST = `sha256:${'a'.repeat(64)}`;

function codes(image, settings = {}) {
  return judge(image, { ...DEFAULTS, ...settings }).map((reason) => reason.code);
}

function app(tag, digest) {
  const reference = 'registry.example.com/ns/app' + (tag ? `:${tag}` : '') + (digest ? `@${digest}` : '');
  return { reference, tag };
}

test('allows a version', () => {
  assert.deepEqual(codes(app('1.2.3')), []);
});

test('denies latest, however it is written', () => {
  assert.deepEqual(codes(app('latest')), ['moving-tag']);
  assert.deepEqual(codes(app('LATEST')), ['moving-tag']);
});

test('does not take a port for a tag', () => {
  assert.deepEqual(codes({ reference: 'registry.example.com:5000/app', tag: undefined }), ['no-tag']);
});

test('denies a name without tag and digest', () => {
  assert.deepEqual(codes(app()), ['no-tag']);
});

test('allows a digest, also beside a moving tag', () => {
  assert.deepEqual(codes(app(undefined, DIGEST)), []);
  assert.deepEqual(codes(app('latest', DIGEST)), []);
});

test('looks at the tag beside a digest where it is told to', () => {
  const settings = { tagsBesideDigests: true };
  assert.deepEqual(codes(app('latest', DIGEST), settings), ['moving-tag']);
  assert.deepEqual(codes(app('1', DIGEST), settings), []);
  assert.deepEqual(codes(app(undefined, DIGEST), settings), []);
});

test('asks for a digest where it is told to', () => {
  const settings = { requireDigest: true };
  assert.deepEqual(codes(app('1.2.3'), settings), ['no-digest']);
  assert.deepEqual(codes(app('1.2.3', DIGEST), settings), []);
});

test('denies an image without a reference unless it is told not to', () => {
  for (const reference of [undefined, null, '']) {
    assert.deepEqual(codes({ reference, tag: undefined }), ['no-reference']);
    assert.deepEqual(codes({ reference, tag: undefined }, { allowWithoutReference: true }), []);
  }
});

test('patterns fit whole tags', () => {
  const yes = [['dev-*', 'dev-1'], ['*-snapshot', '1-SNAPSHOT'], ['*', 'x'], ['a*b*c', 'axxbyyc'], ['a**b', 'ab'], ['1', '1']];
  const no = [['dev-*', 'xdev-1'], ['dev', 'dev-1'], ['ab*ba', 'aba'], ['a*b*c', 'acb'], ['a*bb*b', 'abb'], ['.', 'x']];
  for (const [pattern, tag] of yes) {
    assert.ok(matches(pattern, tag), `${pattern} fits ${tag}`);
  }
  for (const [pattern, tag] of no) {
    assert.ok(!matches(pattern, tag), `${pattern} does not fit ${tag}`);
  }
});

test('agrees with regular expressions on every short pattern', () => {
  const words = (alphabet, length) =>
    length === 0 ? [''] : words(alphabet, length - 1).flatMap((word) => [word, ...[...alphabet].map((letter) => word + letter)]);
  const tags = [...new Set(words('ab', 4))];
  for (const pattern of new Set(words('ab*', 4))) {
    const expression = new RegExp(`^${pattern.replaceAll('*', '.*')}$`);
    for (const tag of tags) {
      assert.equal(matches(pattern, tag), expression.test(tag), `${pattern} and ${tag}`);
    }
  }
});

test('names the pattern that a tag fits', () => {
  const [reason] = judge(app('dev-7'), { ...DEFAULTS, tags: ['latest', 'dev-*'] });
  assert.equal(
    reason.message,
    'registry.example.com/ns/app:dev-7 is named by the tag dev-7 ("dev-*"), which moves; name a version or a digest',
  );
});

test('no settings are the default settings', () => {
  assert.deepEqual(readSettings('{}'), { settings: DEFAULTS, mistakes: [] });
});

test('finds every mistake in settings', () => {
  for (const text of [
    '', '[]', 'null', '"x"', '{"tag":["x"]}', '{"tags":[]}', '{"tags":"latest"}', '{"tags":["a b"]}', '{"tags":[1]}',
    '{"requireDigest":1}', '{"tagsBesideDigests":null}', '{"allowWithoutReference":"yes"}', '{"__proto__":1}', '{"toString":1}',
  ]) {
    assert.equal(readSettings(text).mistakes.length, 1, text);
  }
  assert.equal(readSettings('{"tags":["",1],"requireDigest":0}').mistakes.length, 3);
});

test('the schema knows every setting and its default', () => {
  const defaults = Object.entries(SETTINGS_SCHEMA.properties).map(([name, schema]) => [name, schema.default]);
  assert.deepEqual(Object.fromEntries(defaults), DEFAULTS);
});
