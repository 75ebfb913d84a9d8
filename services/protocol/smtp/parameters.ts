/**
 * The parameters of MAIL and RCPT, RFC 5321 4.1.2 (`esmtp-keyword`, `esmtp-value`).
 *
 * Only grammar lives here; which keyword is offered, and with which value, is the session's business. A keyword given
 * twice is refused: two sizes of one message have no meaning.
 */

import type { ByteString } from '../byte-string.ts'

/** Keyword in upper case to value; undefined where no `=` was given. */
export type Parameters = ReadonlyMap<string, ByteString | undefined>

const none: Parameters = new Map()
const parameterForm = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e\x80-\xff]+))?$/

/** `text` is what follows the path; undefined where it is not a list of parameters. */
export function parseParameters(text: ByteString): Parameters | undefined {
  if (text === '') return none
  if (text[0] !== ' ') return undefined
  const parameters = new Map<string, ByteString | undefined>()
  for (const word of text.split(' ')) {
    if (word === '') continue
    const parts = parameterForm.exec(word)
    const keyword = parts?.[1]?.toUpperCase()
    if (parts === null || keyword === undefined || parameters.has(keyword)) return undefined
    parameters.set(keyword, parts[2])
  }
  return parameters
}

/** The value of SIZE, RFC 1870 6: up to twenty digits; undefined where it is not that. */
export function parseSize(value: ByteString | undefined): number | undefined {
  return value !== undefined && /^[0-9]{1,20}$/.test(value) ? Number(value) : undefined
}
