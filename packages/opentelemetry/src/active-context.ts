// Makes a context of OpenTelemetry the active one within a traced call. A diagnostics channel can do that with a store of Node,
// which is the one in which the context manager keeps its contexts; OpenTelemetry's API has no function that returns it.
import { AsyncLocalStorage } from 'node:async_hooks'
import { channel } from 'node:diagnostics_channel'
import { context, diag, type Context } from '@opentelemetry/api'
import { contained } from './failure.js'

const GET_MANAGER = '_getContextManager'
const STORE = '_asyncLocalStorage'

/** The part of OpenTelemetry's API that returns the context manager. */
interface Api {
  [GET_MANAGER]?(): Manager
}

/** Where a context manager may have its store. */
interface Manager {
  /** OpenTelemetry's own manager. */
  [STORE]?: unknown
  /** The managers of Sentry. */
  getAsyncLocalStorageLookup?(): { asyncLocalStorage?: unknown }
}

function contextStore(): AsyncLocalStorage<Context> | undefined {
  const manager = (context as unknown as Api)[GET_MANAGER]?.()
  const store = manager?.[STORE] ?? manager?.getAsyncLocalStorageLookup?.().asyncLocalStorage
  return store instanceof AsyncLocalStorage ? (store as AsyncLocalStorage<Context>) : undefined
}

/** Lets each call of a tracing channel run in a context of its own. */
export class ActiveContext {
  readonly #start
  readonly #contextOf: (call: object) => Context
  #store: AsyncLocalStorage<Context> | undefined
  #isWarned = false

  /** `contextOf` returns the context for a call. */
  constructor(name: string, contextOf: (call: object) => Context) {
    this.#start = channel(`tracing:${name}:start`)
    this.#contextOf = contextOf
    this.update()
  }

  /** Takes the store of the context manager that is there now: often the instrumentation is made before it. */
  update(): void {
    const store = contextStore()
    if (store === this.#store) return
    this.release()
    if (store)
      this.#start.bindStore(
        store,
        (call) =>
          // Node would end the process with what it throws.
          contained('the context of a call', () => this.#contextOf(call as object)) ??
          context.active(),
      )
    this.#store = store
  }

  /** Tells once if calls have no context of their own. */
  warnIfMissing(): void {
    if (this.#store || this.#isWarned) return
    this.#isWarned = true
    diag.warn(
      'pglisten-opentelemetry: the spans of callbacks are not active within them, because there is no context manager ' +
        'with an AsyncLocalStorage',
    )
  }

  /** Ends it. */
  release(): void {
    if (this.#store) this.#start.unbindStore(this.#store)
    this.#store = undefined
  }
}
