// Names of channels, and other texts, that a careless client would trip over.

import * as fc from 'fast-check'

/** The length that the server counts. */
export const bytes = (text: string) => Buffer.byteLength(text)
const isName = (text: string) => text !== '' && bytes(text) <= 63

/** What may go wrong when names become statements. */
const DANGEROUS = [
  ...['"', '""', "'", "''", '$$', '$1', '$tag$', ';', '; ', '\\', "\\'", '\\"', '\n', '\r', '\t'],
  ...[
    '--',
    '/*',
    '*/',
    ' ',
    '.',
    ',',
    '%',
    '%I',
    '(',
    ')',
    '\u00a0',
    '\ufeff',
    '\u202e',
    '\u007f',
    '\u0001',
  ],
  ...['x"; DROP TABLE canary; --', '"; NOTIFY other; LISTEN "y', "'; SELECT pg_sleep(60); '"],
  ...['UNLISTEN *', 'null', 'Orders', 'orders', 'ORDERS', 'İ', 'ı', 'ß', 'ﬁ', 'é', 'e\u0301'],
  ...['😀', '👩‍👩‍👧', '漢字', '\u{10ffff}', '\ud7ff', '\ue000', '\uffff'],
]

/** A part of a text. */
export const unit = fc.oneof(
  { weight: 2, arbitrary: fc.constantFrom(...DANGEROUS) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }) },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }) },
  { weight: 2, arbitrary: fc.constantFrom('a', 'A', 'b', 'Z', '_', '0') },
)

/** Whether the server can take it as text. */
export const wellFormed = (text: string) => text.isWellFormed() && !text.includes('\0')

/** Any name of a channel. */
export const names = fc
  .array(unit, { minLength: 1, maxLength: 70 })
  .map((units) => {
    let name = ''
    for (const one of units) if (wellFormed(one) && bytes(name + one) <= 63) name += one
    return name
  })
  .filter(isName)

/** Names that a careless server, or a careless client, would take for the same. */
export function lookalikes(name: string): string[] {
  const candidates = [
    ...[name.toLowerCase(), name.toUpperCase(), name.normalize('NFC'), name.normalize('NFD')],
    ...[
      `"${name}"`,
      name.replaceAll('"', '""'),
      name.replaceAll('"', ''),
      name.replaceAll('\\', '\\\\'),
    ],
    ...[name.trim(), `${name} `, ` ${name}`, Array.from(name).slice(0, -1).join(''), `${name}x`],
    ...[name.split(';')[0]!, name.split('"')[0]!],
  ]
  return candidates.filter((candidate) => candidate !== name && isName(candidate))
}
