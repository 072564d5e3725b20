// From NOTIFY to the stream: in order, once, with subjects and counters as documented.

import { asRead, counterFaults } from '../../lab/relay/stream-reading.js'
import { leading, openScene, startRelay, stored, test } from './scene.js'

test('every notification is in the stream, once and in order, behind the gap of the start', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, scene.options)
  await leading(running)
  await scene.writer.write(300)
  await scene.writer.write(3000, { together: true })
  await stored(scene, 3301)
  const messages = await scene.read()
  t.is(messages.length, 3301)
  t.deepEqual(counterFaults(messages), [])
  t.like(scene.writer.judge(asRead(messages)), {
    ...{ written: 3300, delivered: 3300, covered: 0 },
    ...{ lost: [], doubled: [], reordered: [], alien: [] },
  })
  const [first, second] = messages
  t.is(first!.subject, `pg.${scene.stream}.%gap`)
  t.like(JSON.parse(first!.payload), { reason: 'relay-start', lostAt: null, previous: null })
  t.is(second!.subject, `pg.${scene.stream}.${scene.writer.channels[1]!.replace('.', '%2E')}`)
  t.regex(second!.headers['Pg-Pid']!, /^\d+$/)
  t.like(running.relay.stats(), { role: 'leading', stored: 3301, gaps: 1, failures: 0, terms: 1 })
  await running.stop()
  t.is(running.relay.stats().role, 'stopped')
  t.deepEqual(running.warnings, [])
})
