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
  /** What came without a line feed so far: joined once, because a line may come in thousands of chunks. @type {Buffer[]} */
  let rest = []
  let restBytes = 0
  let count = 0
  /** @param {Buffer} end */
  const nextLine = (end) => {
    const line = payloadOf(rest.length === 0 ? end : Buffer.concat([...rest, end]), count + 1, most)
    rest = []
    restBytes = 0
    count += 1
    return line
  }
  for await (const chunk of stream) {
    /** @type {string[]} */
    const lines = []
    let at = 0
    try {
      for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, at)) {
        lines.push(nextLine(chunk.subarray(at, end)))
        at = end + 1
      }
      if (at < chunk.length) rest.push(chunk.subarray(at))
      restBytes += chunk.length - at
      if (restBytes > most) throw tooLong(count + 1, most)
    } catch (error) {
      if (lines.length > 0) yield lines
      throw error
    }
    if (lines.length > 0) yield lines
  }
  if (restBytes > 0) yield [nextLine(Buffer.alloc(0))]
}

module.exports = { payloadLines, MAX_PAYLOAD_BYTES }
