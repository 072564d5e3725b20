// A relay whose way to PostgreSQL leads to a standby, as it does for a while in a failover behind a proxy.

import { ConnectionPool } from 'pglisten'
import { Arena, promote } from '../../lab/faults/arena.js'
import { waitFor } from '../../lab/wait.js'
import { openScene, startRelay, stored, test } from './scene.js'

for (const isDurable of [false, true])
  test(`a relay of ${isDurable ? 'a durable subscription' : 'channels'} waits while its way leads to a standby`, async (t) => {
    t.timeout(120_000)
    const scene = await openScene(t)
    const arena = await Arena.open({ wal_level: 'replica', max_wal_senders: 4 })
    t.teardown(() => arena.close())
    const url = new URL(arena.server.dsn)
    const installer = new ConnectionPool(url.href)
    await installer.durable.install()
    await installer.close()
    const standby = await arena.makeStandby()
    await standby.start()
    t.teardown(() => standby.stop('immediate'))
    url.port = `${standby.port}`
    const running = startRelay(t, {
      ...scene.options,
      channels: ['orders'],
      postgres: url.href,
      ...(isDurable ? { durable: { name: 'relay', from: 'beginning' as const } } : {}),
    })
    let hasEnded = false
    void running.done.catch(() => {}).then(() => (hasEnded = true))
    await waitFor(() => hasEnded || running.warnings.length >= 2, { what: 'warnings' })
    t.false(hasEnded, running.warnings.join('\n'))
    t.regex(running.warnings.join('\n'), /recovery|standby|read-only/)
    t.is(running.relay.stats().epoch, undefined)
    promote(standby)
    const pool = new ConnectionPool(url.href)
    t.teardown(() => pool.close())
    await waitFor(() => pool.fetchVal<boolean>('SELECT NOT pg_is_in_recovery()'))
    if (isDurable) await pool.publish('orders', '1')
    else {
      await waitFor(() => running.relay.stats().role === 'leading', { timeoutMs: 30_000 })
      await pool.notify('orders', '1')
    }
    await stored(scene, 2)
    t.is((await scene.read()).at(-1)!.payload, '1')
  })
