// Orders: a stream for each browser, and one listening session for all.

import {
  Controller,
  Get,
  HttpCode,
  Inject,
  type MessageEvent,
  Param,
  Post,
  ServiceUnavailableException,
  Sse,
} from '@nestjs/common'
import { ConnectionPool, Gap, Listener } from 'pglisten'
import { Observable } from 'rxjs'

@Controller()
export class OrdersController {
  constructor(
    @Inject(ConnectionPool) private readonly pool: ConnectionPool,
    @Inject(Listener) private readonly listener: Listener,
  ) {}

  @Sse('orders/events')
  events(): Observable<MessageEvent> {
    // `from(stream)` of RxJS would leave the stream open until the next message: the signal ends it when the browser leaves.
    return new Observable((browser) => {
      const left = new AbortController()
      this.pass(browser, left.signal).then(
        () => browser.complete(),
        (error: unknown) => browser.error(error),
      )
      return () => left.abort()
    })
  }

  private async pass(
    browser: { next(event: MessageEvent): void },
    signal: AbortSignal,
  ): Promise<void> {
    const changes = await this.listener.subscribe('orders', { gaps: 'include', signal })
    // The page reads its list once the stream has begun, so nothing falls in between.
    browser.next({ type: 'again', data: '' })
    for await (const change of changes)
      browser.next(change instanceof Gap ? { type: 'again', data: '' } : { data: change.payload })
  }

  @Post('orders/:id')
  @HttpCode(204)
  async change(@Param('id') id: string): Promise<void> {
    await this.pool.notify('orders', id)
  }

  @Get('ready')
  ready(): string {
    const { state } = this.listener.health()
    if (state !== 'connected') throw new ServiceUnavailableException(state)
    return state
  }
}
