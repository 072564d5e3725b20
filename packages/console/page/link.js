// The page's way to the console: the token is exchanged for a cookie, then server-sent events come in, and requests go out.

const STORAGE_KEY = 'pglisten-console'
/** The console says something every second. After so long a silence the stream is opened anew, in milliseconds. */
const SILENCE_MS = 8000
const RETRY_MS = 1500

/** The console does not know the page: a token is needed. */
export class TokenNeeded extends Error {}

/**
 * Takes the token out of the address, so that it stays in no history, and exchanges it.
 * @param {string} token
 */
export async function logIn(token) {
  const response = await send('/login', { token })
  const { base } = await response.json()
  sessionStorage.setItem(STORAGE_KEY, base)
}

/** Whether the address's fragment is no token but a place on this page, such as the one of the link that skips to the messages. */
export function isAtPlace() {
  return document.getElementById(location.hash.slice(1)) !== null
}

/** The token in the address's fragment, which is taken out of it. */
export function takeToken() {
  if (isAtPlace()) return ''
  const token = location.hash.slice(1)
  if (token !== '') history.replaceState(null, '', location.pathname)
  return token
}

/** Whether this tab has exchanged a token before. */
export function isLoggedIn() {
  return sessionStorage.getItem(STORAGE_KEY) !== null
}

/** @param {string} action @param {object} data */
export async function act(action, data) {
  await send(`${sessionStorage.getItem(STORAGE_KEY)}${action}`, data)
}

/** @param {string} url @param {object} data */
async function send(url, data) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(data),
  }).catch(() => {
    throw new Error('The console cannot be reached')
  })
  if (response.ok) return response
  const { error } = await response.json().catch(() => ({ error: `HTTP ${response.status}` }))
  throw response.status === 401 ? new TokenNeeded(error) : new Error(error)
}

/**
 * Follows the events, and connects again whenever the stream ends or falls silent.
 * @param {{ [event: string]: (data: any) => void }} handlers
 * @param {{ onOpen: () => void, onLost: () => void, onRefused: () => void }} life
 */
export function followEvents(handlers, { onOpen, onLost, onRefused }) {
  const url = `${sessionStorage.getItem(STORAGE_KEY)}/events`
  /** @type {EventSource} */
  let source
  let heardAt = 0
  let isStopped = false

  const connect = () => {
    heardAt = Date.now()
    source = new EventSource(url)
    source.addEventListener('open', onOpen)
    source.addEventListener('error', () => {
      onLost()
      // The browser connects again by itself, but not after an answer that is no stream.
      if (source.readyState === EventSource.CLOSED) void again()
    })
    for (const [event, handler] of Object.entries(handlers)) {
      source.addEventListener(event, ({ data }) => {
        heardAt = Date.now()
        handler(JSON.parse(data))
      })
    }
  }
  const again = async () => {
    const isRefused = await fetch(url, { method: 'POST' }).then(
      ({ status }) => status === 401,
      () => false,
    )
    if (isRefused) {
      isStopped = true
      sessionStorage.removeItem(STORAGE_KEY)
      clearInterval(watch)
      onRefused()
    } else if (!isStopped) setTimeout(connect, RETRY_MS)
  }
  const watch = setInterval(() => {
    if (source.readyState !== EventSource.OPEN || Date.now() - heardAt < SILENCE_MS) return
    source.close()
    onLost()
    connect()
  }, 1000)
  connect()
}
