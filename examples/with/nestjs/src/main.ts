// Server-sent events with NestJS.

import 'reflect-metadata'
import { Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { OrdersController } from './orders.controller.js'
import { PglistenModule } from './pglisten.module.js'

@Module({ imports: [PglistenModule], controllers: [OrdersController] })
class AppModule {}

const app = await NestFactory.create(AppModule, {
  forceCloseConnections: true,
  logger: ['error', 'warn'],
})
app.enableShutdownHooks()
await app.listen(Number(process.env['PORT'] ?? 8080), '127.0.0.1')
console.log(await app.getUrl())
