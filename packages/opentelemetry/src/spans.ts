// The spans: around callbacks, statements and what sends notifications.
import {
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  context,
  createContextKey,
  diag,
  trace,
  type Attributes,
  type Context,
  type Link,
  type Span,
  type Tracer,
} from '@opentelemetry/api'
import type {
  CallbackContext,
  HandlerContext,
  NotifyContext,
  StatementContext,
  TracingContext,
} from 'pglisten'
import { ActiveContext } from './active-context.js'
import { followed, hear, hearCalls, type TracedCalls } from './calls.js'
import { contained, failureOf, type Failure } from './failure.js'
import { statementAttributes } from './metrics.js'
import { Convention, Own, SYSTEM } from './names.js'
import type { ResolvedConfig } from './options.js'
import { extractContext, injectFrom } from './propagation.js'

/** In the context of {@link Spans.send}: the channel, whose sending has its span already. */
const SENDING = createContextKey('pglisten send')

/** The part of a message that a span is made of. */
export interface Processed {
  readonly channel: string
  readonly payload: unknown
}

/** Makes spans with a tracer until it is stopped. */
export class Spans {
  readonly #tracer: Tracer
  readonly #config: ResolvedConfig
  /** The contexts of the calls, with their spans. */
  readonly #contexts = new WeakMap<object, Context>()
  readonly #ends: (() => void)[] = []
  readonly #active: readonly ActiveContext[]
  #isWarned = false

  constructor(tracer: Tracer, config: ResolvedConfig) {
    this.#tracer = tracer
    this.#config = config
    const { callbacks, statements, notify } = config.spans
    this.#active = callbacks ? this.#hearCallbacks() : []
    if (statements) {
      this.#hear('pglisten:statement', (call) => this.#statement(call))
    }
    if (notify) this.#hear('pglisten:notify', (call) => this.#notify(call))
  }

  /** Takes the context manager that is there now. */
  update(): void {
    for (const active of this.#active) active.update()
  }

  /** Makes no more spans. Those that have not ended are lost. */
  stop(): void {
    for (const active of this.#active) active.release()
    for (const end of this.#ends) end()
  }

  /** Runs `work` in a span that sends notifications; see {@link PglistenInstrumentation.send}. */
  send<Result>(
    channel: string,
    work: (inject: <Payload extends object>(payload: Payload) => Payload) => Result,
  ): Result {
    const span = this.#sendSpan(channel, 1)
    const within = trace.setSpan(context.active(), span).setValue(SENDING, channel)
    return inSpan(span, within, () => work((payload) => injectFrom(within, payload)))
  }

  /** Runs `work` in a span for one message or several; see {@link PglistenInstrumentation.process}. */
  process<Result>(messages: Processed | readonly Processed[], work: () => Result): Result {
    const { extract } = this.#config
    const carried = ({ payload, channel }: Processed) =>
      this.#extracted(extract === false ? true : extract, payload, channel)
    if (!isBatch(messages)) {
      const parent = carried(messages)
      const span = this.#processSpan(messages.channel, undefined, parent)
      return inSpan(span, trace.setSpan(parent, span), work)
    }
    const links: Link[] = []
    for (const message of messages) {
      const linked = trace.getSpanContext(carried(message))
      if (linked) links.push({ context: linked })
    }
    const attributes = { [Convention.messageCount]: messages.length }
    const parent = context.active()
    const span = this.#processSpan(commonChannel(messages), undefined, parent, {
      attributes,
      links,
    })
    return inSpan(span, trace.setSpan(parent, span), work)
  }

  #hearCallbacks(): ActiveContext[] {
    const callback = (call: object) => this.#callbackContext(call as CallbackContext)
    const handler = (call: object) => this.#handlerContext(call as HandlerContext)
    const all = [
      this.#hearWithin('pglisten:callback', callback),
      this.#hearWithin('pglisten:handler', handler),
    ]
    // A listener connects before its callbacks are called: the first of them finds the context manager. So it is with subscriptions.
    for (const name of ['pglisten:session', 'pglisten:subscription'] as const)
      this.#ends.push(hear(name, () => this.update()))
    return all
  }

  /** Has each call of a tracing channel run within its span. */
  #hearWithin(
    name: 'pglisten:callback' | 'pglisten:handler',
    contextOf: (call: object) => Context,
  ): ActiveContext {
    const active = new ActiveContext(name, contextOf)
    this.#ends.push(
      hearCalls(name, {
        begin: (call) => {
          contextOf(call)
          active.update()
          active.warnIfMissing()
        },
        end: (call) => this.#end(call),
      }),
    )
    return active
  }

  /** Begins the span of a callback, if that has not happened, and returns the context for the callback. */
  #callbackContext(call: CallbackContext): Context {
    const begun = this.#contexts.get(call)
    if (begun) return begun
    const { channel, listener, payload } = call
    let parent = ROOT_CONTEXT
    if (channel !== undefined) {
      if (this.#config.extract !== false && payload === undefined) this.#warnOfPayloads()
      parent = this.#extracted(this.#config.extract, payload, channel)
    }
    const span = this.#processSpan(channel, listener, parent)
    const within = trace.setSpan(parent, span)
    this.#contexts.set(call, within)
    return within
  }

  /** Begins the span of a handler, as {@link Spans.#callbackContext} does that of a callback. */
  #handlerContext(call: HandlerContext): Context {
    const begun = this.#contexts.get(call)
    if (begun) return begun
    const { channel, subscription, payload } = call
    if (this.#config.extract !== false && payload === undefined) this.#warnOfPayloads()
    const parent = this.#extracted(this.#config.extract, payload, channel)
    const attributes = { [Own.subscriptionName]: subscription }
    const within = trace.setSpan(
      parent,
      this.#processSpan(channel, undefined, parent, { attributes }),
    )
    this.#contexts.set(call, within)
    return within
  }

  /** Whatever `extract` does, the callback is called. */
  #extracted(extract: ResolvedConfig['extract'], payload: unknown, channel: string): Context {
    return contained('`extract`', () => extractContext(extract, payload, channel)) ?? ROOT_CONTEXT
  }

  #processSpan(
    channel: string | undefined,
    listener: string | undefined,
    parent: Context,
    more: { attributes?: Attributes; links?: Link[] } = {},
  ): Span {
    const attributes: Attributes = {
      [Convention.messagingSystem]: SYSTEM,
      [Convention.operationName]: 'process',
      [Convention.operationType]: 'process',
      ...more.attributes,
    }
    if (listener !== undefined) attributes[Own.listenerName] = listener
    if (channel === undefined && !more.links)
      return this.#tracer.startSpan('process gap', { attributes }, parent)
    let name = 'process'
    if (channel !== undefined) {
      const told = this.#config.channelName(channel)
      attributes[Convention.destination] = told
      name = `process ${told}`
    }
    const { links = [] } = more
    return this.#tracer.startSpan(name, { kind: SpanKind.CONSUMER, attributes, links }, parent)
  }

  #statement(call: StatementContext): Span {
    const attributes = statementAttributes(call)
    if (this.#config.queryText && call.text !== undefined)
      attributes[Convention.queryText] = call.text
    return this.#tracer.startSpan(call.command ?? call.method, {
      kind: SpanKind.CLIENT,
      attributes,
    })
  }

  #notify(call: NotifyContext): Span | undefined {
    if (context.active().getValue(SENDING) === call.channel) return undefined
    return this.#sendSpan(call.channel, call.count)
  }

  #sendSpan(channel: string, count: number): Span {
    const told = this.#config.channelName(channel)
    const attributes: Attributes = {
      [Convention.messagingSystem]: SYSTEM,
      [Convention.operationName]: 'send',
      [Convention.operationType]: 'send',
      [Convention.destination]: told,
    }
    if (count !== 1) attributes[Convention.messageCount] = count
    return this.#tracer.startSpan(`send ${told}`, { kind: SpanKind.PRODUCER, attributes })
  }

  #hear<Name extends keyof TracedCalls>(
    name: Name,
    begin: (call: TracedCalls[Name]) => Span | undefined,
  ): void {
    const end = hearCalls(name, {
      begin: (call) => {
        const span = begin(call)
        if (span) this.#contexts.set(call, trace.setSpan(ROOT_CONTEXT, span))
      },
      end: (call) => this.#end(call),
    })
    this.#ends.push(end)
  }

  #end(call: TracingContext): void {
    const within = this.#contexts.get(call)
    const span = within && trace.getSpan(within)
    if (span) endSpan(span, failureOf(call))
  }

  #warnOfPayloads(): void {
    if (this.#isWarned) return
    this.#isWarned = true
    diag.warn(
      'pglisten-opentelemetry: `extract` finds no payloads; the pool needs the option `diagnostics: { payloads: true }`',
    )
  }
}

/** The channel of all messages; `undefined` if there are several. */
export function commonChannel(messages: Processed | readonly Processed[]): string | undefined {
  if (!isBatch(messages)) return messages.channel
  const channels = new Set(messages.map(({ channel }) => channel))
  return channels.size === 1 ? messages[0]?.channel : undefined
}

function isBatch(messages: Processed | readonly Processed[]): messages is readonly Processed[] {
  return Array.isArray(messages)
}

/** Runs `work` within a span, which ends with it. */
function inSpan<Result>(span: Span, within: Context, work: () => Result): Result {
  return followed(
    () => context.with(within, work),
    (failure) => endSpan(span, failure),
  )
}

function endSpan(span: Span, failure: Failure | undefined): void {
  if (failure) {
    span.setAttribute(Convention.errorType, failure.type)
    if (failure.sqlState !== undefined)
      span.setAttribute(Convention.responseStatus, failure.sqlState)
    span.setStatus({ code: SpanStatusCode.ERROR })
  }
  span.end()
}
