// The rule as `countersign:policy/ruling` wants it (wit/deps/countersign-policy/rule.wit).

import { judge, readSettings } from './judge.js';
import { SETTINGS_SCHEMA } from './schema.js';

export const ruling = {
  describe() {
    return {
      name: 'deny-latest',
      version: '1.0.0',
      purpose: 'images are named by a fixed tag or a digest, not by `latest`',
      settingsSchema: JSON.stringify(SETTINGS_SCHEMA),
      capabilities: [],
      more: [],
    };
  },

  checkSettings(text) {
    return readSettings(text).mistakes;
  },

  evaluate({ image, settings: text }) {
    const { settings, mistakes } = readSettings(text);
    const reasons = mistakes.length > 0
      ? mistakes.map((message) => ({ code: 'settings-invalid', message }))
      : judge(image, settings);
    return {
      decision: reasons.length > 0 ? { tag: 'deny', val: reasons } : { tag: 'allow' },
      warnings: [],
      annotations: [],
      // What a name says does not depend on the time.
      validUntil: undefined,
      more: [],
    };
  },
};
