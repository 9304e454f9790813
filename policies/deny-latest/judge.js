// What the rule says: plain functions, which `npm test` runs without any sandbox.

/**
 * Settings as the policy has them, or what is wrong with them. The schema says the same; this is for
 * whoever asks without having looked at it.
 *
 * @param {string} text JSON
 * @returns {{ settings: object, mistakes: string[] }}
 */
export function readSettings(text) {
  let given;
  try {
    given = JSON.parse(text);
  } catch {
    return { settings: { ...DEFAULTS }, mistakes: ['settings are not JSON'] };
  }
  if (given === null || typeof given !== 'object' || Array.isArray(given)) {
    return { settings: { ...DEFAULTS }, mistakes: ['settings are not an object'] };
  }
  const mistakes = [];
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(DEFAULTS, name)) {
      mistakes.push(`${JSON.stringify(name)} is no setting; there are ${Object.keys(DEFAULTS).join(', ')}`);
    }
  }
  const settings = { ...DEFAULTS, ...given };
  for (const name of ['requireDigest', 'tagsBesideDigests', 'allowWithoutReference']) {
    if (typeof settings[name] !== 'boolean') {
      mistakes.push(`${name} has to be true or false`);
    }
  }
  if (!Array.isArray(settings.tags) || settings.tags.length === 0) {
    mistakes.push('tags has to be a list of at least one tag or pattern');
  } else {
    settings.tags.forEach((tag, at) => {
      if (typeof tag !== 'string' || !PATTERN.test(tag)) {
        mistakes.push(`tags[${at}] has to be made of letters, digits, "_", ".", "-" and "*"`);
      }
    });
  }
  return { settings, mistakes };
}

/**
 * Why an image is not allowed: reasons, none if it is.
 *
 * @param {{ reference?: string, tag?: string }} image
 * @param {object} settings as `readSettings` gives them
 * @returns {{ code: string, message: string }[]}
 */
export function judge(image, settings) {
  if (image.reference === undefined || image.reference === null || image.reference === '') {
    if (settings.allowWithoutReference) {
      return [];
    }
    return [
      {
        code: 'no-reference',
        message:
          'the image has neither tag nor digest in its name, since it does not come from a registry; '
          + 'name the image that it is a copy of (--as)',
      },
    ];
  }
  const named = image.reference;
  // A reference has "@" before its digest and nowhere else.
  const pinned = named.includes('@');
  const tag = image.tag ?? '';
  if (settings.requireDigest && !pinned) {
    return [
      {
        code: 'no-digest',
        message: `${named} is not named by digest; append @sha256:… of the image that was tested`,
      },
    ];
  }
  if (pinned && (tag === '' || !settings.tagsBesideDigests)) {
    return [];
  }
  if (tag === '') {
    return [
      {
        code: 'no-tag',
        message: `${named} has no tag, which means latest; name a version or a digest`,
      },
    ];
  }
  const pattern = settings.tags.find((pattern) => matches(pattern, tag));
  if (pattern === undefined) {
    return [];
  }
  const why = pattern === tag ? '' : ` (${JSON.stringify(pattern)})`;
  return [
    {
      code: 'moving-tag',
      message: `${named} is named by the tag ${tag}${why}, which moves; name a version or a digest`,
    },
  ];
}

/**
 * Whether a pattern, in which `*` stands for any characters, fits the whole of a tag. `Latest` moves as
 * `latest` does, so capitals do not matter. Takes time proportional to both lengths, whatever the pattern.
 */
export function matches(pattern, tag) {
  const parts = pattern.toLowerCase().split('*');
  const text = tag.toLowerCase();
  if (parts.length === 1) {
    return text === parts[0];
  }
  const first = parts.shift();
  const last = parts.pop();
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length) {
    return false;
  }
  const end = text.length - last.length;
  let at = first.length;
  for (const part of parts) {
    const found = text.indexOf(part, at);
    if (found === -1 || found + part.length > end) {
      return false;
    }
    at = found + part.length;
  }
  return true;
}

export const DEFAULTS = {
  tags: ['latest'],
  requireDigest: false,
  tagsBesideDigests: false,
  allowWithoutReference: false,
};

/** The characters of tags (OCI distribution specification, "Pulling manifests"), and `*`. */
const PATTERN = /^[A-Za-z0-9_.*-]{1,128}$/;
