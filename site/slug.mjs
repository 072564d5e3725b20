/**
 * The anchor of a heading, as the repository's page makes it, so that one link fits both.
 * @param {string} heading Its text, without marks.
 */
export const slug = (heading) =>
  heading
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
    .replaceAll(' ', '-')
