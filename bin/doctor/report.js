// @ts-check
// What a doctor's visit has found: facts, findings with their remedies, and what could not be looked at.
'use strict'

/**
 * @typedef {object} Finding
 * @property {string} check The name of the check, stable, for programs.
 * @property {string} title What is wrong, in one sentence.
 * @property {string} detail What was seen, and what it means for listeners.
 * @property {string} remedy What to do about it.
 */

class Report {
  /** What was seen, by a stable name. @type {Record<string, string | number | boolean | null>} */
  facts = {}
  /** @type {Finding[]} */
  findings = []
  /** What could not be looked at, and why. @type {{ check: string, reason: string }[]} */
  notChecked = []

  /** @param {Finding} finding */
  add(finding) {
    this.findings.push(finding)
  }

  /** @param {string} check @param {string} reason */
  skip(check, reason) {
    this.notChecked.push({ check, reason })
  }
}

module.exports = { Report }
