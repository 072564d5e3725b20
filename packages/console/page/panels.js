// The smaller parts of the page: the state of the connection, gaps, sessions, the queue, the form that sends.

import { byId, formatDuration, formatNumber, formatTime, make, setText } from './dom.js'
import { act } from './link.js'
import { describeGap } from './store.js'

/** @typedef {import('./store.js').Store} Store */

/** Says where we are connected to; what changes is announced to screen readers once. @param {Store} store */
export function showState(store) {
  const state = byId('state', HTMLParagraphElement)
  const text = byId('state-text', HTMLSpanElement)
  const announcements = byId('announcements', HTMLDivElement)

  const describe = () => {
    const { link, server } = store
    if (!link.isOpen) {
      return { kind: 'unreachable', short: 'Console unreachable', since: link.since, reason: '' }
    }
    const reason = server?.reason ?? ''
    if (server?.state === 'connected') {
      return { kind: 'connected', short: 'Listening', since: server.since, reason }
    }
    const since = server?.since ?? Date.now()
    return server?.state === 'away'
      ? { kind: 'away', short: 'Server away', since, reason }
      : { kind: 'connecting', short: 'Connecting to the server', since, reason }
  }
  const update = () => {
    const { kind, short, since, reason } = describe()
    const time = `since ${formatTime(since)} (${formatDuration(Date.now() - since)})`
    setText(text, kind === 'connected' ? short : `${short} ${time}`)
    state.dataset['state'] = kind
    state.title = reason
    setText(announcements, kind === 'connected' ? short : `${short} since ${formatTime(since)}`)
    setText(byId('address', HTMLParagraphElement), reason || store.server?.address || '')
    document.title = kind === 'connected' ? 'pglisten console' : `${short} – pglisten console`
  }
  store.follow(['server', 'link'], update)
  setInterval(() => {
    if (state.dataset['state'] !== 'connected') update()
  }, 1000)
}

/** @param {Store} store */
export function showGaps(store) {
  const list = byId('gap-rows', HTMLOListElement)
  store.follow(['gaps'], () => {
    byId('no-gaps', HTMLParagraphElement).hidden = store.gaps.length > 0
    list.hidden = store.gaps.length === 0
    const rows = store.gaps
      .toReversed()
      .map((gap) =>
        make(
          'li',
          {},
          make('strong', {}, formatTime(gap.resumedAt)),
          ` ${describeGap(gap)}`,
          make('p', {}, gap.message),
        ),
      )
    list.replaceChildren(...rows)
  })
}

const SEEN = {
  console: 'This console',
  pglisten: 'Yes: pglisten',
  listen: 'Yes: LISTEN',
  unknown: 'Not known',
}

/** @param {Store} store */
export function showSessions(store) {
  const readout = byId('sessions-readout', HTMLParagraphElement)
  store.follow(['activity'], () => {
    const { activity } = store
    if (!activity) return
    const { sessions, total, queueUsage, error, at } = activity
    const left = total - sessions.length
    const count = left > 0 ? `${sessions.length} of ${total}` : `${sessions.length}`
    setText(readout, error ?? `${count} at ${formatTime(at)}`)
    byId('queue', HTMLMeterElement).value = queueUsage ?? 0
    setText(
      byId('queue-text', HTMLSpanElement),
      queueUsage === null ? 'Not known' : `${(queueUsage * 100).toFixed(2)} % full`,
    )
    const rows = sessions.map((session) => {
      const { application, user, state, seconds, seen, serves, processId } = session
      const kind = seen === 'unknown' ? 'badge' : 'badge listens'
      const since = seconds === null ? '' : ` for ${formatDuration(seconds * 1000)}`
      return make(
        'tr',
        {},
        make('td', {}, application || '(no name)'),
        make(
          'td',
          {},
          make('span', { class: kind }, SEEN[seen]),
          serves ? ` ${serves.replaceAll(/\b1 (listener|channel)s/g, '1 $1')}` : '',
        ),
        make('td', {}, state === '' ? 'hidden from this user' : `${state}${since}`),
        make('td', {}, user),
        make('td', { class: 'figure' }, String(processId)),
      )
    })
    byId('session-rows', HTMLTableSectionElement).replaceChildren(...rows)
  })
}

/** @param {Store} store */
export function showSend(store) {
  const form = byId('send-form', HTMLFormElement)
  const result = byId('send-result', HTMLParagraphElement)
  const channel = byId('send-channel', HTMLInputElement)
  const payload = byId('send-payload', HTMLTextAreaElement)
  store.follow(['settings'], () => {
    byId('send', HTMLElement).hidden = !store.settings.allowSend
  })
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const bytes = new TextEncoder().encode(payload.value).length
    setText(result, '')
    act('/send', { channel: channel.value, payload: payload.value }).then(
      () => {
        delete result.dataset['failed']
        setText(result, `Sent ${formatNumber(bytes)} bytes at ${formatTime(Date.now())}`)
      },
      (/** @type {Error} */ error) => {
        result.dataset['failed'] = ''
        setText(result, error.message)
      },
    )
  })
}
