// Subjects: `<prefix>.<database>.<channel>`, where the last two are percent-encoded, so that any name can be read back.

/** The last token of the subject of gaps. No channel has it: the channel `%gap` is encoded as `%25gap`. */
export const GAP_TOKEN = '%gap'

/**
 * Encodes the name of a channel or a database as one token of a subject. The letters and digits of ASCII and `-_!~'()` stay as they
 * are; everything else becomes the percent-encoded bytes of UTF-8.
 *
 * @param name - Any well-formed text, not empty.
 */
export function encodeToken(name: string): string {
  return encodeURIComponent(name).replaceAll('.', '%2E').replaceAll('*', '%2A')
}

/**
 * Reads a token back.
 *
 * @param token - What {@link encodeToken} has made.
 */
export function decodeToken(token: string): string {
  return decodeURIComponent(token)
}

/**
 * Returns the subject of a channel.
 *
 * @param prefix - The first tokens, such as `pg`.
 * @param database - The name under which the relay publishes the database.
 * @param channel - The channel.
 */
export function subjectOf(prefix: string, database: string, channel: string): string {
  return `${prefix}.${encodeToken(database)}.${encodeToken(channel)}`
}

/**
 * Returns the subject of the gaps of a database.
 *
 * @param prefix - The first tokens, such as `pg`.
 * @param database - The name under which the relay publishes the database.
 */
export function gapSubjectOf(prefix: string, database: string): string {
  return `${prefix}.${encodeToken(database)}.${GAP_TOKEN}`
}

/**
 * Returns the subjects of everything that relays of a database write, as a wildcard.
 *
 * @param prefix - The first tokens, such as `pg`.
 * @param database - The name under which the relay publishes the database.
 */
export function ownSubjectsOf(prefix: string, database: string): string {
  return `${prefix}.${encodeToken(database)}.*`
}

/**
 * Returns the channel of a subject, or `undefined` for the subject of gaps.
 *
 * @param subject - A subject of the stream.
 */
export function channelOf(subject: string): string | undefined {
  const token = subject.slice(subject.lastIndexOf('.') + 1)
  return token === GAP_TOKEN ? undefined : decodeToken(token)
}
