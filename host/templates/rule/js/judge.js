// What the rule says: plain functions, which `npm test` runs without any sandbox.

/** JSON Schema (draft 2020-12). Settings that do not fit are refused when the policy is loaded. */
export const SETTINGS_SCHEMA = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'RULE-NAME',
  type: 'object',
  additionalProperties: false,
  required: ['hosts'],
  properties: {
    hosts: {
      description: '`registry.example.com`, or with a port: `registry.example.com:5000`',
      type: 'array',
      items: { type: 'string' },
    },
  },
};

/**
 * Settings as the policy has them, or what is wrong with them.
 *
 * @param {string} text JSON
 * @returns {{ settings: { hosts: string[] }, mistakes: string[] }}
 */
export function readSettings(text) {
  const settings = JSON.parse(text);
  const hosts = settings?.hosts;
  if (!Array.isArray(hosts) || !hosts.every((host) => typeof host === 'string')) {
    return { settings: { hosts: [] }, mistakes: ['hosts has to be a list of registries'] };
  }
  if (hosts.length === 0) {
    return { settings: { hosts }, mistakes: ['hosts is empty, which would deny every image'] };
  }
  return { settings: { hosts }, mistakes: [] };
}

/**
 * Why an image is not allowed: reasons, none if it is.
 *
 * @param {{ repository?: string }} image
 * @param {{ hosts: string[] }} settings
 * @returns {{ code: string, message: string }[]}
 */
export function judge(image, { hosts }) {
  if (!image.repository) {
    return [{ code: 'registry-missing', message: 'the image does not come from a registry' }];
  }
  const [host] = image.repository.split('/');
  if (!hosts.includes(host)) {
    const message = `the image comes from ${host}; expected ${hosts.join(' or ')}`;
    return [{ code: 'registry-unknown', message }];
  }
  return [];
}
