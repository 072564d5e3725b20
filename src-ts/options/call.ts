// The bounds of a call, as options of it.

/** The options of a call that can be given up. */
export interface CallOptions {
  /**
   * Gives the call up when it is aborted: it rejects with the signal's reason. A statement that is running is cancelled
   * on the server.
   * @default no signal
   */
  signal?: AbortSignal | undefined
  /**
   * The longest time that the call may take, in milliseconds, from 0 to 2147483647, the wait for its turn included. Then
   * it rejects with {@link ConnectionTimeoutError}, and a statement that is running is cancelled on the server. The
   * rejection comes once the server has confirmed that the statement ended. One that does not is waited for until it has been silent
   * for 2 s, at most 10 s, and one that does not answer a rollback for 5 s: its connection is closed then. A call of the pool that waits for a
   * connection as long rejects with {@link ConnectionPoolExecuteError}. Once the whole result has come, its rows are made.
   * @default no limit
   */
  timeoutMs?: number | undefined
}
