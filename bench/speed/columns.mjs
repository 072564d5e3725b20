// The columns of the tables, in their order. What a run came to is read into these measures by `statistics.mjs`.

/** The title of each measure, and how many digits it has. @type {Record<string, { title: string, digits: number }>} */
export const COLUMNS = {
  perSecond: { title: 'delivered / s', digits: 0 },
  threadNs: { title: 'JS thread, ns each', digits: 0 },
  processNs: { title: 'process, ns each', digits: 0 },
  wakes: { title: 'wakes of threads each', digits: 2 },
  delivered: { title: 'delivered', digits: 0 },
  threadMs: { title: 'JS thread, ms', digits: 1 },
  grownMb: { title: 'memory above the start, MB', digits: 1 },
  delayMs: { title: 'longest delay, ms', digits: 1 },
  peakMb: { title: 'peak memory, MB', digits: 0 },
  p50Us: { title: 'p50, µs', digits: 0 },
  p99Us: { title: 'p99, µs', digits: 0 },
  p999Us: { title: 'p99.9, µs', digits: 0 },
  instructions: { title: 'JS thread, instructions from wake to wait', digits: 0 },
  heldRatio: { title: 'held : kept', digits: 2 },
  heldMb: { title: 'held, MB', digits: 2 },
  firstMs: { title: 'first notification, ms', digits: 0 },
  requireMs: { title: 'require, ms', digits: 1 },
  importMs: { title: 'import, ms', digits: 1 },
  mb: { title: 'MB', digits: 2 },
}
