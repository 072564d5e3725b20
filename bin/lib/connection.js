// @ts-check
// The server that a command talks to.
'use strict'

/** @import { ConnectionPool, ConnectionPoolOptions } from 'pglisten' */

const { blameArguments } = require('./errors.js')

/** Loaded when a command connects, so that `--help` and wrong arguments cost nothing. @returns {typeof import('pglisten')} */
const library = () => require('pglisten')

/**
 * Makes a pool. The server is that of `--dsn`, else of DATABASE_URL, else of libpq's variables.
 * @param {string | undefined} dsn
 * @param {string} command The name of the command, under which the server shows its sessions.
 * @param {ConnectionPoolOptions} [options]
 * @returns {ConnectionPool}
 */
function openPool(dsn, command, options = {}) {
  const where = dsn ?? (process.env['DATABASE_URL'] || undefined)
  // The variable comes after what the DSN says, where an option would come before it.
  const given = process.env['PGAPPNAME']
  if (given === undefined) process.env['PGAPPNAME'] = `pglisten ${command}`
  try {
    return new (library().ConnectionPool)({
      ...options,
      ...(where !== undefined && { dsn: where }),
    })
  } catch (error) {
    if (dsn !== undefined) blameArguments(error)
    throw error
  } finally {
    if (given === undefined) delete process.env['PGAPPNAME']
  }
}

/** Whether a DSN has a password, which others can see in the arguments. @param {string | undefined} dsn */
const showsPassword = (dsn) =>
  dsn !== undefined &&
  (/^[a-z]+:\/\/[^/@]*:[^/]+@/i.test(dsn) || /(^|[\s?&])password\s*=/i.test(dsn))

/**
 * @param {string | undefined} dsn
 * @param {(line: string) => void} tell
 */
function warnOfPassword(dsn, tell) {
  if (showsPassword(dsn))
    tell(
      'the password in --dsn can be seen by other users of this machine; put it into PGPASSWORD, ~/.pgpass or DATABASE_URL',
    )
}

module.exports = { library, openPool, warnOfPassword }
