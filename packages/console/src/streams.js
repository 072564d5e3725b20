// The streams of server-sent events, one for each open page. A page that does not read is sent nothing while more than a bound
// waits for it; when it has read that, it is sent everything anew.

/** @typedef {import('node:http').ServerResponse} Response */

export const MAX_STREAMS = 20
const MAX_UNREAD_BYTES = 256 * 1024
/** How soon a browser connects again, in milliseconds. */
const RETRY_MS = 1000

export class Streams {
  /** Open pages, and whether each has missed something. @type {Map<Response, { isBehind: boolean }>} */
  #open = new Map()
  #snapshot

  /** @param {() => unknown} snapshot What a page has to know at first. */
  constructor(snapshot) {
    this.#snapshot = snapshot
  }

  get count() {
    return this.#open.size
  }

  /** @param {Response} response */
  add(response) {
    const stream = { isBehind: false }
    this.#open.set(response, stream)
    response.once('close', () => this.#open.delete(response))
    response.on('drain', () => {
      if (!stream.isBehind) return
      stream.isBehind = false
      response.write(text('snapshot', this.#snapshot()))
    })
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(`retry: ${RETRY_MS}\n\n`)
    response.write(text('snapshot', this.#snapshot()))
  }

  /** Sends an event to every page that reads. @param {string} event @param {unknown} data */
  send(event, data) {
    if (this.#open.size === 0) return
    const block = text(event, data)
    for (const [response, stream] of this.#open) {
      stream.isBehind ||= response.writableLength > MAX_UNREAD_BYTES
      if (!stream.isBehind) response.write(block)
    }
  }

  close() {
    for (const response of this.#open.keys()) response.destroy()
  }
}

/** JSON has no line breaks, so the data is one line. @param {string} event @param {unknown} data */
function text(event, data) {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`
}
