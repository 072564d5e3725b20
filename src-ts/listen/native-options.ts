// The options of a listener in the form in which they cross to Rust.
import type { Complete } from '../options/validate.js'
import type { NativeListenerOptions, NativeReconnectOptions } from '#native'
import type { ReconnectOptions, ResolvedListenerOptions } from '../options/listener.js'

/** Converts checked options of reconnecting. */
export function toNativeReconnectOptions(
  reconnect: Complete<ReconnectOptions>,
): NativeReconnectOptions {
  const { maxAttempts } = reconnect
  return { ...reconnect, maxAttempts: maxAttempts === Infinity ? null : maxAttempts }
}

/** Converts a listener's checked options. Rust gets every field; `null` stands for "off" and for "no limit". */
export function toNativeListenerOptions(options: ResolvedListenerOptions): NativeListenerOptions {
  const { session, reconnect, heartbeat, buffer, maxDelayMs, ignoreOwn } = options
  return {
    session,
    reconnect: reconnect && toNativeReconnectOptions(reconnect),
    heartbeat: heartbeat && {
      ...heartbeat,
      probeIntervalMs: heartbeat.probeIntervalMs === false ? null : heartbeat.probeIntervalMs,
    },
    maxPauseMs: buffer.maxPauseMs,
    maxDelayMs,
    ignoreOwn,
  }
}
