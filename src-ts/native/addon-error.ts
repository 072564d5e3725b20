// The error for an addon that cannot be loaded. The package does not export it, because it prevents the import itself.
import { brandError } from '../brand.js'
import { PglistenError, type PglistenErrorOptions } from '../errors.js'

/** The reasons why the addon cannot be loaded. */
export type AddonLoadErrorCode =
  /** There is no addon for this platform. */
  | 'ERR_PGLISTEN_UNSUPPORTED_PLATFORM'
  /** The package that holds this platform's addon is not installed. */
  | 'ERR_PGLISTEN_ADDON_MISSING'
  /** The addon is of another version than the rest of the package. */
  | 'ERR_PGLISTEN_ADDON_VERSION'
  /** The system refuses to load the addon; `cause` says why. */
  | 'ERR_PGLISTEN_ADDON_UNLOADABLE'

/** Thrown by the import of the package when its addon cannot be loaded. */
export class AddonLoadError extends PglistenError {
  override readonly code: AddonLoadErrorCode

  constructor(code: AddonLoadErrorCode, message: string, options?: PglistenErrorOptions) {
    super(message, options)
    this.code = code
  }
}

brandError(AddonLoadError, 'AddonLoadError')
