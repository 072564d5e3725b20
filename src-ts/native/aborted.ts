// The outcome of a call that Rust gave up because of its signal.
import { PglistenError } from '../errors.js'

/** A call was aborted. It never leaves the package: whoever has the signal rejects with its reason instead. */
export class AbortedError extends PglistenError {}
