// @ts-check
// The sessions of the server that listen, as far as one can tell: PostgreSQL shows what a session ran last, and not its channels.
'use strict'

/**
 * A condition on a row `a` of pg_stat_activity: a session of this package that listens, or another whose last statement was a
 * LISTEN. A session that has run another statement since is not recognized, nor one whose statements the role may not see.
 */
const LISTENS = String.raw`a.backend_type OPERATOR(pg_catalog.=) 'client backend' AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
    AND a.query OPERATOR(pg_catalog.~*) '^\s*(listen\s|/\* pglisten: (.*; )?[0-9]+ listeners|notify "pglisten_fence_)'`

/** How many listeners and channels such a session serves, as an array of two texts; null of a session of others. The names of the listeners may come first. */
const SERVED = String.raw`(pg_catalog.regexp_match(a.query, '^/\* pglisten: (?:.*; )?([0-9]+) listeners, ([0-9]+) channels'))[1:2]`

module.exports = { LISTENS, SERVED }
