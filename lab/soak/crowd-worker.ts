// A worker thread of the crowd: does what its parent says, one order after the other.

import { parentPort, workerData } from 'node:worker_threads'
import { Members, type MembersResult, type Plan } from './crowd-members.js'

export interface CrowdTask {
  dsn: string
  plans: Plan[]
}
export type Order = 'start' | 'live' | 'settle' | 'end'
/** The answer to each order; to the last one with what came of it. */
export interface Answer {
  result?: MembersResult
}

const { dsn, plans } = workerData as CrowdTask
const members = new Members(dsn, plans)
const port = parentPort!

port.on('message', (order: Order) => void obey(order))

async function obey(order: Order): Promise<void> {
  const answer: Answer = {}
  if (order === 'end') answer.result = await members.end()
  else await members[order]()
  const streams = answer.result?.outcomes.flatMap(({ runs }) => runs) ?? []
  port.postMessage(
    answer,
    streams.map(({ stream }) => stream.keys.buffer),
  )
  if (order === 'end') port.close()
}
