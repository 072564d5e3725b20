// The stream as it is, read without the package's own consumer, so that a fault of that one cannot hide one of the relay.

import { DeliverPolicy, jetstream, jetstreamManager, type StreamConfig } from '@nats-io/jetstream'
import { connect, errors, type NatsConnection } from '@nats-io/transport-node'
import type { Read } from './oracle.js'

/** Makes a stream as the documentation says. */
export async function makeStream(
  url: string,
  name: string,
  config: Partial<StreamConfig> = {},
): Promise<void> {
  const nc = await connect({ servers: url })
  try {
    const jsm = await jetstreamManager(nc)
    await jsm.streams.add({
      name,
      subjects: [`pg.${name}.>`],
      allow_direct: true,
      ...(nc.info!.version.startsWith('2.9') ? {} : ({ allow_atomic: true } as object)),
      ...config,
    })
  } finally {
    await nc.close()
  }
}

/** A message as it is stored. */
export interface StoredMessage {
  sequence: number
  /** When it was stored, in milliseconds since 1970. */
  storedAt: number
  subject: string
  payload: string
  headers: Record<string, string>
}

const ANSWER_DEADLINE_MS = 30_000

/** The answer to a question. The client drops what is asked while its connection is being made again; the next question is answered. */
export async function answered<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
  const deadline = performance.now() + ANSWER_DEADLINE_MS
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof errors.TimeoutError) || performance.now() > deadline) throw error
    }
  }
}

/** Everything that is in a stream, in order, or what is from a sequence on. */
export async function readStream(
  nc: NatsConnection,
  name: string,
  from = 1,
): Promise<StoredMessage[]> {
  const jsm = await jetstreamManager(nc, { checkAPI: false, timeout: 1000 })
  const { state } = await answered(() => jsm.streams.info(name))
  const messages: StoredMessage[] = []
  if (state.messages === 0 || state.last_seq < from) return messages
  const consumer = await answered(() =>
    jetstream(nc).consumers.get(name, {
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: from,
    }),
  )
  const iterator = await consumer.consume({ max_messages: 1000 })
  for await (const message of iterator) {
    const headers: Record<string, string> = {}
    for (const key of message.headers?.keys() ?? []) headers[key] = message.headers!.get(key)
    messages.push({
      sequence: message.seq,
      storedAt: message.info.timestampNanos / 1e6,
      subject: message.subject,
      payload: message.string(),
      headers,
    })
    if (message.seq >= state.last_seq) break
  }
  await consumer.delete()
  return messages
}

/** What the oracle judges. */
export function asRead(messages: readonly StoredMessage[]): Read[] {
  return messages.map(({ subject, payload }) => {
    const token = subject.split('.')[2]!
    if (token !== '%gap') return { kind: 'message', channel: decodeURIComponent(token), payload }
    const { reason, lostAt, resumedAt, dropped } = JSON.parse(payload) as {
      reason: string
      lostAt: string | null
      resumedAt: string
      dropped: number | null
    }
    return {
      kind: 'gap',
      reason,
      lostAt: lostAt === null ? undefined : Date.parse(lostAt),
      resumedAt: Date.parse(resumedAt),
      dropped,
    }
  })
}

/** What is wrong with the counters of a stream that retention has not touched: nothing, if all is well. */
export function counterFaults(messages: readonly StoredMessage[]): string[] {
  const faults: string[] = []
  let epoch = ''
  let n = 0
  let channels = new Map<string, number>()
  for (const { sequence, subject, headers } of messages) {
    const [ofAll, number] = (headers['Pg-Seq'] ?? '').split(':')
    const [ofChannel, channelNumber] = (headers['Pg-Channel-Seq'] ?? '').split(':')
    if (ofAll !== epoch) {
      epoch = ofAll!
      n = 0
      channels = new Map()
    }
    n += 1
    const channelN = (channels.get(subject) ?? 0) + 1
    channels.set(subject, channelN)
    if (Number(number) !== n || ofChannel !== epoch || Number(channelNumber) !== channelN)
      faults.push(
        `${sequence}: ${headers['Pg-Seq']} and ${headers['Pg-Channel-Seq']}, not ${n} and ${channelN}`,
      )
  }
  return faults
}
