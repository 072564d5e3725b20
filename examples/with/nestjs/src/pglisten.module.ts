// The pool and its listener for the whole application; they live as long as it does.

import { Global, Inject, Module, type OnApplicationShutdown } from '@nestjs/common'
import { ConnectionPool, Listener } from 'pglisten'

@Global()
@Module({
  providers: [
    {
      provide: ConnectionPool,
      useFactory: () => new ConnectionPool(process.env['DATABASE_URL']),
    },
    {
      provide: Listener,
      inject: [ConnectionPool],
      // Nest waits for it, and it for a database that is not there yet.
      useFactory: (pool: ConnectionPool) => pool.listen({}, { retry: true }),
    },
  ],
  exports: [ConnectionPool, Listener],
})
export class PglistenModule implements OnApplicationShutdown {
  constructor(@Inject(ConnectionPool) private readonly pool: ConnectionPool) {}

  /** Called at SIGTERM, as `enableShutdownHooks()` says. */
  async onApplicationShutdown(): Promise<void> {
    await this.pool.close()
  }
}
