// Why the native half could not be loaded. Not exported from the package: who meets it could import nothing.
import { PglistenError, type PglistenErrorOptions } from '../errors.js'

export type AddonLoadErrorCode =
  /** No addon is made for this platform. */
  | 'ERR_PGLISTEN_UNSUPPORTED_PLATFORM'
  /** The package that holds this platform's addon is not installed. */
  | 'ERR_PGLISTEN_ADDON_MISSING'
  /** The addon is of another version than the rest of the package. */
  | 'ERR_PGLISTEN_ADDON_VERSION'
  /** The addon is there, and the system refuses to load it; `cause` says why. */
  | 'ERR_PGLISTEN_ADDON_UNLOADABLE'

/** Thrown when the package is imported. */
export class AddonLoadError extends PglistenError {
  override readonly code: AddonLoadErrorCode

  constructor(code: AddonLoadErrorCode, message: string, options?: PglistenErrorOptions) {
    super(message, options)
    this.code = code
  }
}
