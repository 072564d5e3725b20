// Where a thread of the crowd begins: a worker thread of Node.js 20 has to be told itself how TypeScript is read.

import { register } from 'tsx/esm/api'

register()
await import('./crowd-worker.js')
