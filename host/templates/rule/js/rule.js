// The rule as `countersign:policy/ruling` wants it (wit/deps/countersign-policy/rule.wit). Names of the interface
// are spelled in camelCase here: `settings-schema` is `settingsSchema`.
//
// A capability is imported by its name, `import { write } from 'countersign:policy/log@0.1.0'`, once wit/world.wit
// and `capabilities` below name it, too.

import { judge, readSettings, SETTINGS_SCHEMA } from './judge.js';

export const ruling = {
  describe() {
    return {
      name: 'RULE-NAME',
      version: '0.1.0',
      purpose: 'images come from these registries',
      settingsSchema: JSON.stringify(SETTINGS_SCHEMA),
      capabilities: [],
      more: [],
    };
  },

  // What is wrong with settings beyond what the schema can say.
  checkSettings(text) {
    return readSettings(text).mistakes;
  },

  // The answer about one image. An exception here is no allow: it ends the rule, and the image is denied.
  evaluate({ image, settings: text }) {
    const { settings, mistakes } = readSettings(text);
    const reasons = mistakes.length > 0
      ? mistakes.map((message) => ({ code: 'settings-invalid', message }))
      : judge(image, settings);
    return {
      decision: reasons.length > 0 ? { tag: 'deny', val: reasons } : { tag: 'allow' },
      warnings: [],
      annotations: [],
      // Seconds since 1970, if an allow ends by itself.
      validUntil: undefined,
      more: [],
    };
  },
};
