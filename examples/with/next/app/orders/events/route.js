// Server-sent events: each browser has a stream, and all of them share one listening session.

import { Gap } from 'pglisten'
import { listening, pool } from '../../../lib/listener.js'

export const dynamic = 'force-dynamic'

/** An event. A line of a payload is a line of the event, so that no payload ends it and begins another. */
function eventOf(change) {
  if (change instanceof Gap) return 'event: again\ndata:\n\n'
  return `data: ${change.payload.split(/\r\n|\r|\n/).join('\ndata: ')}\n\n`
}

export async function GET({ signal }) {
  const listener = await listening()
  const changes = await listener.subscribe('orders', { gaps: 'include', signal })
  const encoder = new TextEncoder()
  const body = new ReadableStream({
    // The page reads its list once the stream has begun, so nothing falls in between.
    start: (controller) => controller.enqueue(encoder.encode('event: again\ndata:\n\n')),
    // Called when the browser can take more: what waits until then is in the listener's buffer, which is bounded.
    async pull(controller) {
      const { done, value } = await changes.next()
      if (done) return controller.close()
      controller.enqueue(encoder.encode(eventOf(value)))
    },
    async cancel() {
      await changes.return()
    },
  })
  const headers = { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }
  return new Response(body, { headers })
}

export async function POST(request) {
  await pool().notify('orders', await request.text())
  return new Response(null, { status: 204 })
}
