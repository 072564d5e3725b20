// The options of a listener in the form in which they cross to Rust.
import type { NativeListenerOptions } from '#native'
import type { ResolvedListenerOptions } from '../options/listener.js'

/** Converts a listener's checked options. Rust gets every field; `null` stands for "off" and for "no limit". */
export function toNativeListenerOptions(options: ResolvedListenerOptions): NativeListenerOptions {
  const { reconnect, heartbeat, buffer, ignoreOwn } = options
  return {
    reconnect: reconnect && {
      ...reconnect,
      maxAttempts: reconnect.maxAttempts === Infinity ? null : reconnect.maxAttempts,
    },
    heartbeat: heartbeat && {
      ...heartbeat,
      probeIntervalMs: heartbeat.probeIntervalMs === false ? null : heartbeat.probeIntervalMs,
    },
    maxPauseMs: buffer.maxPauseMs,
    ignoreOwn,
  }
}
