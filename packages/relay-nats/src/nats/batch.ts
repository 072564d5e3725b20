// Atomic batches (nats-server 2.12 and newer): all messages of a batch are stored next to each other, or none.
import { nuid } from '@nats-io/transport-node'
import type { StreamInfo } from '@nats-io/jetstream'

/** The most messages that a server takes in one batch. */
export const MAX_BATCH = 1000

/** JetStream's code for a stream that does not take batches. */
export const BATCH_DISABLED = 10_174

/** The name of a new batch. */
export const newBatchId = (): string => nuid.next()

/** The headers that make a message part of a batch; the last one commits it. */
export function batchHeaders(id: string, index: number, count: number): Record<string, string> {
  return {
    'Nats-Batch-Id': id,
    'Nats-Batch-Sequence': String(index + 1),
    ...(index === count - 1 ? { 'Nats-Batch-Commit': '1' } : {}),
  }
}

/** Whether the stream takes batches. Servers before 2.12 ignore the headers and store the messages one by one, so they must not be sent there. */
export function takesBatches({ config }: StreamInfo): boolean {
  return (config as { allow_atomic?: boolean }).allow_atomic === true
}
