// Adds a job for the worker of main.mjs: node send.mjs bob@example.com

import { PgBoss } from 'pg-boss'

const boss = new PgBoss(process.env.DATABASE_URL)
await boss.start()
await boss.send('mail', { to: process.argv[2] ?? 'somebody' })
await boss.stop()
