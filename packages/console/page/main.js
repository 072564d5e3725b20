// The beginning of the page: it exchanges the token, opens the stream, and hands each event to the store.

import { showChannels } from './channels.js'
import { showRates } from './charts.js'
import { byId, setText } from './dom.js'
import { followEvents, isAtPlace, isLoggedIn, logIn, takeToken } from './link.js'
import { showMessages } from './messages.js'
import { showGaps, showSend, showSessions, showState } from './panels.js'
import { Store } from './store.js'

/** @param {string} [reason] */
function askForToken(reason = '') {
  byId('console', HTMLElement).hidden = true
  byId('login', HTMLElement).hidden = false
  byId('state', HTMLElement).hidden = true
  setText(byId('login-error', HTMLParagraphElement), reason)
}

function showConsole() {
  byId('login', HTMLElement).hidden = true
  byId('state', HTMLElement).hidden = false
  byId('console', HTMLElement).hidden = false
  const store = new Store()
  showRates(store)
  showMessages(store)
  showChannels(store)
  showState(store)
  showGaps(store)
  showSessions(store)
  showSend(store)
  followEvents(
    {
      snapshot: (data) => store.replace(data),
      messages: (data) => store.addMessages(data),
      second: (data) => store.endSecond(data),
      gap: (data) => store.addGap(data),
      server: (data) => store.setServer(data),
      activity: (data) => store.setActivity(data),
    },
    {
      onOpen: () => store.setLink(true),
      onLost: () => store.setLink(false),
      onRefused: () =>
        askForToken('The console does not know this page any more: it was started again.'),
    },
  )
}

/** @param {string} token */
async function open(token) {
  try {
    await logIn(token)
    // One page, one life: the parts of the page are made once.
    showConsole()
  } catch (error) {
    askForToken(/** @type {Error} */ (error).message)
  }
}

byId('login-form', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault()
  const field = byId('login-token', HTMLInputElement)
  const token = field.value.replace(/^.*#/, '').trim()
  field.value = ''
  void logIn(token).then(
    () => location.reload(),
    (/** @type {Error} */ error) => askForToken(error.message),
  )
})
// Another address entered into the same tab changes nothing but the fragment.
addEventListener('hashchange', () => {
  if (!isAtPlace()) location.reload()
})

const token = takeToken()
if (token !== '') void open(token)
else if (isLoggedIn()) showConsole()
else askForToken()
