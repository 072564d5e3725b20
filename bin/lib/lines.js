// @ts-check
// Lines of a stream, with a bound on their length.
'use strict'

const { Failure } = require('./errors.js')

/** PostgreSQL refuses longer payloads (NOTIFY_PAYLOAD_MAX_LENGTH). */
const MAX_PAYLOAD_BYTES = 7999

const LINE_FEED = 10

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * @param {Uint8Array} bytes
 * @param {number} line From 1.
 * @param {number} most The most bytes that a payload may have.
 */
function payloadOf(bytes, line, most) {
  if (bytes.length > most) throw tooLong(line, most)
  let text
  try {
    text = decoder.decode(bytes)
  } catch (cause) {
    throw new Failure(`line ${line} is not UTF-8`, { cause })
  }
  if (text.includes('\0')) throw new Failure(`line ${line} has a zero byte`)
  return text
}

/** @param {number} line @param {number} most */
const tooLong = (line, most) =>
  new Failure(`line ${line} is longer than a payload may be: ${most} bytes`)

/**
 * The lines of each chunk of a stream, without their line feeds; the last one need not have one. Fails at the first line that
 * cannot be a payload, after it has yielded those before it.
 * @param {AsyncIterable<Buffer>} stream
 * @param {number} [most] The most bytes that a payload may have.
 * @returns {AsyncGenerator<string[], void>}
 */
async function* payloadLines(stream, most = MAX_PAYLOAD_BYTES) {
  /** What came without a line feed so far. @type {Buffer} */
  let rest = Buffer.alloc(0)
  let count = 0
  for await (const chunk of stream) {
    const data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    /** @type {string[]} */
    const lines = []
    let at = 0
    try {
      for (let end = data.indexOf(LINE_FEED); end !== -1; end = data.indexOf(LINE_FEED, at)) {
        lines.push(payloadOf(data.subarray(at, end), count + 1, most))
        count += 1
        at = end + 1
      }
      rest = data.subarray(at)
      if (rest.length > most) throw tooLong(count + 1, most)
    } catch (error) {
      if (lines.length > 0) yield lines
      throw error
    }
    if (lines.length > 0) yield lines
  }
  if (rest.length > 0) yield [payloadOf(rest, count + 1, most)]
}

module.exports = { payloadLines, MAX_PAYLOAD_BYTES }
