// Tells of the life of a listener: to `node:diagnostics_channel`, to `NODE_DEBUG=pglisten`, and to the user's logger.
import { debuglog } from 'node:util'
import type { PglistenError, ServerMessage } from '../errors.js'
import { logTo, type LogLevel, type ResolvedObservation } from '../options/observation.js'
import {
  gapChannel,
  listenerChannel,
  sessionChannel,
  warningChannel,
  type DiagnosticsChannel,
  type ListenerIdentity,
  type ListenerMessage,
  type SessionMoment,
  type WarningKind,
} from './channels.js'
import { errorFacts, type GapFacts } from './facts.js'
import { Misfit } from '../options/schemas.js'
import type { QueueReport } from './queue.js'

const debug = debuglog('pglisten')

/** A `warning` event, as far as it is told. */
interface WarningFacts {
  kind: WarningKind
  message: string
  notice?: ServerMessage | undefined
  error?: PglistenError | undefined
  channel?: string | undefined
  queue?: QueueReport | undefined
}

/** The events that are told, with their arguments: those of a listener, which stand above this folder. */
export interface ToldEvents {
  connected: [{ processId: number }]
  disconnected: [{ error: PglistenError; processId: number }]
  reconnecting: [{ attempt: number; delayMs: number; error: PglistenError }]
  reconnected: [{ gap: GapFacts }]
  gap: [GapFacts]
  error: [PglistenError]
  warning: [WarningFacts]
  closed: [PglistenError?]
}

/** What is told of one moment. */
interface Told {
  level: LogLevel
  fields: object
  /** In words, without anything that may be secret. */
  text: string
  /** What others have said about it: for the logger alone. */
  detail?: string | undefined
}

/** The facts of a {@link SessionMessage} that are there. */
interface SessionFacts {
  processId?: number | undefined
  attempt?: number | undefined
  delayMs?: number | undefined
  error?: PglistenError | undefined
}

let lastId = 0

/** Tells of one listener. */
export class Observer {
  /** The number of the listener in this thread. */
  readonly id: number
  readonly name: string | undefined
  /** What may be told. */
  readonly observation: ResolvedObservation

  constructor(name: string | undefined, observation: ResolvedObservation) {
    lastId += 1
    this.id = lastId
    this.name = name
    this.observation = observation
  }

  /** The fields of every message that say which listener it is about. */
  get identity(): ListenerIdentity {
    return { listenerId: this.id, listener: this.name }
  }

  /** Tells that the listener was made. */
  made(instance: object): void {
    if (!listenerChannel.hasSubscribers) return
    const message: ListenerMessage = { ...this.identity, instance }
    listenerChannel.publish(message)
  }

  /** Tells that the listener begins to connect. */
  connecting(): void {
    this.#tell(sessionChannel, () => this.#session('connecting', 'debug', 'connecting'))
  }

  /** Tells that the listener has a session of its own now. */
  moved(processId: number | undefined): void {
    this.#tell(sessionChannel, () =>
      this.#session('moved', 'info', `moved to session ${processId}, its own`, { processId }),
    )
  }

  /** Tells that the listener could not start. */
  failed(error: unknown): void {
    this.#tell(sessionChannel, () =>
      this.#session('closed', 'warn', 'could not start', { error: error as PglistenError }),
    )
  }

  /** Tells of an event of the listener. */
  event<Name extends keyof ToldEvents>(name: Name, args: ToldEvents[Name]): void {
    switch (name) {
      case 'connected': {
        const [{ processId }] = args as ToldEvents['connected']
        this.#tell(sessionChannel, () =>
          this.#session('connected', 'info', `connected: session ${processId}`, { processId }),
        )
        break
      }
      case 'disconnected': {
        const [{ processId, error }] = args as ToldEvents['disconnected']
        const facts = { processId, error }
        this.#tell(sessionChannel, () =>
          this.#session('lost', 'warn', `lost session ${processId}`, facts),
        )
        break
      }
      case 'reconnecting': {
        const [facts] = args as ToldEvents['reconnecting']
        const { attempt, delayMs } = facts
        const text = `attempt ${attempt} to connect again in ${Math.round(delayMs)} ms`
        this.#tell(sessionChannel, () => this.#session('reconnecting', 'debug', text, facts))
        break
      }
      case 'gap':
        this.#tell(gapChannel, () => this.#gap((args as ToldEvents['gap'])[0]))
        break
      case 'warning':
        this.#tell(warningChannel, () => this.#warning((args as ToldEvents['warning'])[0]))
        break
      case 'error':
        this.#tell(undefined, () => this.#error((args as ToldEvents['error'])[0]))
        break
      case 'closed': {
        const [error] = args as ToldEvents['closed']
        this.#tell(sessionChannel, () =>
          error
            ? this.#session('closed', 'error', 'gave up', { error })
            : this.#session('closed', 'info', 'closed'),
        )
        break
      }
      case 'reconnected':
        // Told as `connected` and `gap`.
        break
    }
  }

  #session(event: SessionMoment, level: LogLevel, text: string, facts: SessionFacts = {}): Told {
    const { processId, attempt, delayMs, error } = facts
    const { code, sqlState } = errorFacts(error)
    const fields = { event, processId, attempt, delayMs, code, sqlState }
    return { level, fields, text: `${text}${codes(code, sqlState)}`, detail: error?.message }
  }

  #gap(gap: GapFacts): Told {
    const { reason, lostAt, resumedAt, downtimeMs, dropped, sqlState, attempts } = gap
    const { serverRestarted, oldProcessId, newProcessId, merged } = gap
    const fields = {
      ...{ reason, lostAt, resumedAt, downtimeMs, dropped, sqlState, attempts },
      ...{ serverRestarted, oldProcessId, newProcessId, merged },
    }
    const missing = dropped === null ? 'notifications may be missing' : `${dropped} dropped`
    return { level: 'warn', fields, text: `gap (${reason}): ${missing}, ${downtimeMs} ms` }
  }

  #warning({ kind, message, notice, error, channel, queue }: WarningFacts): Told {
    const { code, sqlState = notice?.sqlState } = errorFacts(error)
    const [usage, processId] = [queue?.usage, queue?.suspects[0]?.processId]
    const fields = { kind, channel, code, sqlState, usage, processId }
    return {
      level: 'warn',
      fields,
      text: `warning (${kind})${codes(code, sqlState)}`,
      detail: message,
    }
  }

  #error(error: PglistenError): Told {
    const { code, sqlState } = errorFacts(error)
    const { channel, payload } = error as { channel?: string; payload?: unknown }
    const asked = this.observation.payloads ? { err: error, payload } : undefined
    const fields = { code, sqlState, channel, ...asked }
    const detail = error.cause instanceof Misfit ? error.cause.told : error.message
    return { level: 'error', fields, text: `error${codes(code, sqlState)}`, detail }
  }

  /** Tells whoever wants to hear. What is told is made only if somebody does. */
  #tell(channel: DiagnosticsChannel | undefined, say: () => Told): void {
    const isHeard = channel?.hasSubscribers === true
    const { logger } = this.observation
    if (!isHeard && !logger && !debug.enabled) return
    const { level, fields, text, detail } = say()
    const message = { ...this.identity, ...fields }
    if (isHeard) channel.publish(message)
    const who = this.name === undefined ? `listener ${this.id}` : `listener ${this.id} ${this.name}`
    if (debug.enabled) debug('%s: %s', who, text)
    if (logger) logTo(logger, level, message, `${who}: ${text}${detail ? `: ${detail}` : ''}`)
  }
}

function codes(code: string | undefined, sqlState: string | undefined): string {
  if (code === undefined && sqlState === undefined) return ''
  return ` [${[code, sqlState].filter((one) => one !== undefined).join(' ')}]`
}
