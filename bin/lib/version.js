// @ts-check
// The version of the package.
'use strict'

const { readFileSync } = require('node:fs')
const path = require('node:path')

/** @returns {string} */
function version() {
  const manifest = path.join(__dirname, '..', '..', 'package.json')
  return JSON.parse(readFileSync(manifest, 'utf8')).version
}

module.exports = { version }
