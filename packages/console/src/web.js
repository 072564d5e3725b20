// The web server: which requests are let in, and who answers them.

import { once } from 'node:events'
import { createServer } from 'node:http'
import { Access, originsOf } from './access.js'
import { readFiles } from './files.js'
import { Refusal } from './service.js'
import { MAX_STREAMS } from './streams.js'

/** A payload has at most 7,999 bytes, and JSON needs up to six for each. */
const MAX_BODY_BYTES = 64 * 1024
const MAX_CONNECTIONS = 200
const REQUEST_TIMEOUT_MS = 10_000

const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=(), usb=()',
  'cache-control': 'no-store',
}

/**
 * @typedef {import('node:http').IncomingMessage} Request
 * @typedef {import('node:http').ServerResponse} Response
 */

export class ConsoleWeb {
  #service
  #files = readFiles()
  #server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    void this.#respond(request, response)
  })
  /** @type {Access | undefined} */
  #access

  /** @param {import('./service.js').ConsoleService} service */
  constructor(service) {
    this.#service = service
    this.#server.maxConnections = MAX_CONNECTIONS
  }

  /**
   * Serves the page. Rejects when the port is taken.
   * @param {Pick<import('./options.js').ConsoleOptions, 'host' | 'port' | 'origins' | 'token'>} options
   * @returns {Promise<string>} The page's address, with the token.
   */
  async listen({ host, port, origins, token }) {
    this.#server.listen(port, host)
    await once(this.#server, 'listening')
    const address = /** @type {import('node:net').AddressInfo} */ (this.#server.address())
    const served = originsOf({ host, port: address.port, origins })
    this.#access = new Access({ token, origins: served })
    return `${served[0]}/#${this.#access.token}`
  }

  close() {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  /** @param {Request} request @param {Response} response */
  async #respond(request, response) {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value)
    try {
      await this.#route(request, response)
    } catch (error) {
      if (response.headersSent || response.destroyed) {
        response.destroy()
      } else if (error instanceof Refusal) {
        // What is left of a refused body is not read.
        if (!request.complete) response.setHeader('connection', 'close')
        answer(response, error.status, { error: error.message })
      } else {
        answer(response, 500, { error: error instanceof Error ? error.message : String(error) })
      }
    }
  }

  /** @param {Request} request @param {Response} response */
  async #route(request, response) {
    const { url = '/', method } = request
    const access = this.#access
    if (!access?.isAddressed(request)) {
      throw new Refusal(421, 'This is not the address of the console; see --origin')
    }
    const file = method === 'GET' ? this.#files.get(url) : undefined
    if (file !== undefined) {
      response.writeHead(200, { 'content-type': file.type }).end(file.body)
      return
    }
    if (access.isForeign(request)) throw new Refusal(403, 'Another site has sent this request')
    if (url === '/login' && method === 'POST') {
      const { token } = await body(request)
      if (!access.isToken(token)) throw new Refusal(401, 'This is not the token of the console')
      response.setHeader('set-cookie', access.cookie(request))
      answer(response, 200, { base: access.base })
      return
    }
    if (!url.startsWith(`${access.base}/`) || !access.isKnown(request)) {
      throw new Refusal(401, 'Open the address that the console has printed')
    }
    await this.#act(`${method} ${url.slice(access.base.length)}`, request, response)
  }

  /** What only those may do who have the cookie. @param {string} action @param {Request} request @param {Response} response */
  async #act(action, request, response) {
    switch (action) {
      case 'GET /events':
        if (this.#service.pages >= MAX_STREAMS) {
          throw new Refusal(503, `Expected at most ${MAX_STREAMS} open pages; close one`)
        }
        this.#service.connectPage(response)
        return
      case 'POST /channels/add':
        await this.#service.addChannel((await body(request))['channel'])
        break
      case 'POST /channels/remove':
        await this.#service.removeChannel((await body(request))['channel'])
        break
      case 'POST /send': {
        const { channel, payload } = await body(request)
        await this.#service.send(channel, payload)
        break
      }
      default:
        throw new Refusal(404, 'There is nothing here')
    }
    answer(response, 200, {})
  }
}

/** @param {Response} response @param {number} status @param {object} data */
function answer(response, status, data) {
  response
    .writeHead(status, { 'content-type': 'application/json; charset=utf-8' })
    .end(JSON.stringify(data))
}

/** The body, which has to be an object in JSON. @param {Request} request @returns {Promise<{ [name: string]: unknown }>} */
async function body(request) {
  if (!/^application\/json\b/i.test(request.headers['content-type'] ?? '')) {
    throw new Refusal(415, 'Expected a body of the type application/json')
  }
  /** @type {Buffer[]} */
  const chunks = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes > MAX_BODY_BYTES) {
      throw new Refusal(413, `Expected a body of at most ${MAX_BODY_BYTES} bytes`)
    }
    chunks.push(chunk)
  }
  try {
    const data = JSON.parse(Buffer.concat(chunks).toString('utf8'))
    if (typeof data === 'object' && data !== null) return data
  } catch {
    // Told below.
  }
  throw new Refusal(400, 'Expected the body to be an object in JSON')
}
