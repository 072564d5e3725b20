// Waiting that can be ended.
import { clearTimeout, setTimeout } from '../native/timers.js'

/** Waits for so long, in milliseconds, or until `sooner` resolves or `stop` is aborted. */
export async function waited(ms: number, stop: AbortSignal, sooner?: Promise<void>): Promise<void> {
  if (stop.aborted) return
  let timer: NodeJS.Timeout | undefined
  let onStop = () => {}
  await Promise.race([
    new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms)
      onStop = resolve
      stop.addEventListener('abort', onStop, { once: true })
    }),
    ...(sooner ? [sooner] : []),
  ])
  clearTimeout(timer)
  stop.removeEventListener('abort', onStop)
}
