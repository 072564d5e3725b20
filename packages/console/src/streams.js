// The streams of server-sent events, one for each open page. A page that does not read costs one full socket buffer: it is sent
// nothing until it has read, and then everything anew.

/** @typedef {import('node:http').ServerResponse} Response */

export const MAX_STREAMS = 20
/** How soon a browser connects again, in milliseconds. */
const RETRY_MS = 1000

export class Streams {
  /** Open pages, and whether each has read what it was sent. @type {Map<Response, { isFull: boolean }>} */
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
    const stream = { isFull: false }
    this.#open.set(response, stream)
    response.once('close', () => this.#open.delete(response))
    response.on('drain', () => {
      stream.isFull = false
      this.#write(response, stream, text('snapshot', this.#snapshot()))
    })
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(`retry: ${RETRY_MS}\n\n`)
    this.#write(response, stream, text('snapshot', this.#snapshot()))
  }

  /** Sends an event to every page that reads. @param {string} event @param {unknown} data */
  send(event, data) {
    if (this.#open.size === 0) return
    const block = text(event, data)
    for (const [response, stream] of this.#open)
      if (!stream.isFull) this.#write(response, stream, block)
  }

  close() {
    for (const response of this.#open.keys()) response.destroy()
  }

  /** @param {Response} response @param {{ isFull: boolean }} stream @param {string} block */
  #write(response, stream, block) {
    stream.isFull = !response.write(block)
  }
}

/** JSON has no line breaks, so the data is one line. @param {string} event @param {unknown} data */
function text(event, data) {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`
}
