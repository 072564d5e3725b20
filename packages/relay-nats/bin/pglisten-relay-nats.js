#!/usr/bin/env node
// @ts-check
'use strict'

const { main } = require('../dist/command/main.js')

void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code
})
