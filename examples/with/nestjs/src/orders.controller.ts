// Orders: a stream for each browser, and one listening session for all.

import { once } from 'node:events'
import { ServerResponse } from 'node:http'
import { setImmediate as nextTurn } from 'node:timers/promises'
import {
  Controller,
  Get,
  HttpCode,
  Inject,
  type MessageEvent,
  Param,
  Post,
  Res,
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
  events(@Res({ passthrough: true }) response: ServerResponse): Observable<MessageEvent> {
    // `from(stream)` of RxJS would leave the stream open until the next message: the signal ends it when the browser leaves.
    return new Observable((browser) => {
      const left = new AbortController()
      this.pass(browser, response, left.signal).then(
        () => browser.complete(),
        (error: unknown) => browser.error(error),
      )
      return () => left.abort()
    })
  }

  private async pass(
    browser: { next(event: MessageEvent): void },
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const changes = await this.listener.subscribe('orders', { gaps: 'include', signal })
    // The page reads its list once the stream has begun, so nothing falls in between.
    browser.next({ type: 'again', data: '' })
    for await (const change of changes) {
      browser.next(change instanceof Gap ? { type: 'again', data: '' } : { data: change.payload })
      // Nest would keep what the browser does not take, without a bound; the listener has one. It writes in the next turn.
      await nextTurn()
      if (response.writableNeedDrain) await once(response, 'drain', { signal })
    }
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
