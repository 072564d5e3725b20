// Who may use the console: the token, the cookie that stands for it, and the addresses that requests may name.
//
// The token stands in the fragment of the page's address, which browsers send to nobody. The page exchanges it for a cookie.
// Cookies do not know ports: a browser sends them to every server of the same host. So the cookie is valid for one path
// only, which nobody can guess, and another server on this machine never sees it.

import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { isLoopback } from './options.js'

const TOKEN_BYTES = 32
const COOKIE = 'pglisten_console'

/** @typedef {import('node:http').IncomingMessage} Request */

export class Access {
  /** The token, as it stands in the address. */
  token
  /** The beginning of every path that needs the cookie. It follows from the token, so a page outlives the console. */
  base
  #secret
  /** @type {Set<string>} */
  #origins
  /** @type {Set<string>} */
  #hosts

  /** @param {{ token?: string | undefined, origins: Iterable<string> }} options */
  constructor({ token = randomBytes(TOKEN_BYTES).toString('base64url'), origins }) {
    this.token = token
    this.base = `/s/${derive(token, 'path').slice(0, 32)}`
    this.#secret = derive(token, 'cookie')
    this.#origins = new Set(origins)
    this.#hosts = new Set([...this.#origins].map((origin) => new URL(origin).host))
  }

  /**
   * Whether the request is addressed to the console by a name that is its own. A page of another site can have its own name
   * point to 127.0.0.1 (DNS rebinding), but then the request names that site.
   * @param {Request} request
   */
  isAddressed({ headers }) {
    return headers.host !== undefined && this.#hosts.has(headers.host.toLowerCase())
  }

  /**
   * Whether a page of another site has caused the request. Browsers say so; other programs may say nothing.
   * @param {Request} request
   */
  isForeign({ headers, method }) {
    const { origin } = headers
    if (origin === undefined ? method !== 'GET' : !this.#origins.has(origin)) return true
    const site = headers['sec-fetch-site']
    return site !== undefined && site !== 'same-origin'
  }

  /** @param {unknown} token */
  isToken(token) {
    return typeof token === 'string' && isEqual(token, this.token)
  }

  /** @param {Request} request Whether it has the cookie. */
  isKnown({ headers }) {
    return (headers.cookie ?? '').split(';').some((pair) => {
      const [name = '', value = ''] = pair.split('=', 2)
      return name.trim() === COOKIE && isEqual(value.trim(), this.#secret)
    })
  }

  /** The cookie for whoever has shown the token, as a header. @param {Request} request */
  cookie({ headers }) {
    const secure = headers.origin?.startsWith('https:') ? '; Secure' : ''
    return `${COOKIE}=${this.#secret}; Path=${this.base}/; HttpOnly; SameSite=Strict${secure}`
  }
}

/**
 * The addresses by which browsers may reach the console. Those of the loopback interface are among them if it is served there.
 * @param {{ host: string, port: number, origins: readonly string[] }} served
 */
export function originsOf({ host, port, origins }) {
  const own = isLoopback(host)
    ? [...new Set([host.includes(':') ? `[${host}]` : host, 'localhost'])].map(
        (name) => new URL(`http://${name}:${port}`).origin,
      )
    : []
  return [...origins, ...own]
}

/** @param {string} token @param {string} purpose */
function derive(token, purpose) {
  return createHmac('sha256', token).update(`pglisten-console ${purpose}`).digest('base64url')
}

/** Compares in a time that tells nothing about the texts. @param {string} one @param {string} other */
function isEqual(one, other) {
  const digest = (/** @type {string} */ text) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(one), digest(other))
}
