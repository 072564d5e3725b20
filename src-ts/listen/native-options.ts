// The options of a listener in the form in which they cross to Rust.
import type { Complete } from '../options/validate.js'
import type { NativeListenerOptions, NativeReconnectOptions, NativeSelection } from '#native'
import type { ReconnectOptions, ResolvedListenerOptions } from '../options/listener.js'
import type { CoalesceMode, ResolvedFilter } from '../options/selection.js'

/** Converts checked options of reconnecting. */
export function toNativeReconnectOptions(
  reconnect: Complete<ReconnectOptions>,
): NativeReconnectOptions {
  const { maxAttempts } = reconnect
  return { ...reconnect, maxAttempts: maxAttempts === Infinity ? null : maxAttempts }
}

/** Converts a listener's checked options. Rust gets every field; `null` stands for "off" and for "no limit". */
export function toNativeListenerOptions(options: ResolvedListenerOptions): NativeListenerOptions {
  const { session, name, reconnect, heartbeat, buffer, maxDelayMs, ignoreOwn } = options
  return {
    session,
    name: name ?? null,
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

/** Converts the checked options that select what reaches a consumer; `null` when everything does, as it comes. */
export function toNativeSelection(
  coalesce: CoalesceMode | false,
  filter: ResolvedFilter | false,
): NativeSelection | null {
  return coalesce || filter ? { coalesce: coalesce || null, filter: filter || null } : null
}
