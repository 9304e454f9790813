// JSON Schema of the settings. `judge.js` has the same defaults.

import { DEFAULTS } from './judge.js';

export const SETTINGS_SCHEMA = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'deny-latest',
  type: 'object',
  additionalProperties: false,
  properties: {
    tags: {
      description: 'Tags that are refused; `*` stands for any characters. Capitals do not matter.',
      type: 'array',
      minItems: 1,
      items: { type: 'string', minLength: 1, maxLength: 128, pattern: '^[A-Za-z0-9_.*-]+$' },
      default: DEFAULTS.tags,
    },
    requireDigest: {
      description: 'Whether every image has to be named by digest.',
      type: 'boolean',
      default: DEFAULTS.requireDigest,
    },
    tagsBesideDigests: {
      description: 'Whether the tag is looked at where the name has a digest, too: `app:latest@sha256:…`.',
      type: 'boolean',
      default: DEFAULTS.tagsBesideDigests,
    },
    allowWithoutReference: {
      description: 'Whether images that do not come from a registry, and so have no such name, are allowed.',
      type: 'boolean',
      default: DEFAULTS.allowWithoutReference,
    },
  },
};
