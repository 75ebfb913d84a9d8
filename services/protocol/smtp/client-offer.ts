/**
 * What a server offers in its answer to EHLO, RFC 5321 4.1.1.1: keywords in any case, unknown ones ignored.
 *
 * A parameter that cannot be read is taken as not given; it never fails the session.
 */

import type { Reply } from './reply.ts'

export interface ServerOffer {
  readonly pipelining: boolean
  readonly eightBitMime: boolean
  readonly smtpUtf8: boolean
  readonly startTls: boolean
  readonly size: boolean
  /** The largest message it takes, bytes; Infinity where it names none. */
  readonly sizeMax: number
  /** LIMITS RCPTMAX, RFC 9422; Infinity where it names none. */
  readonly recipientsMax: number
}

export const nothingOffered: ServerOffer = {
  pipelining: false,
  eightBitMime: false,
  smtpUtf8: false,
  startTls: false,
  size: false,
  sizeMax: Infinity,
  recipientsMax: Infinity,
}

export function readOffer(reply: Reply): ServerOffer {
  const keywords = new Map<string, string>()
  for (const line of reply.lines.slice(1)) {
    const space = line.indexOf(' ')
    const keyword = (space < 0 ? line : line.slice(0, space)).toUpperCase()
    keywords.set(keyword, space < 0 ? '' : line.slice(space + 1))
  }
  return {
    pipelining: keywords.has('PIPELINING'),
    eightBitMime: keywords.has('8BITMIME'),
    smtpUtf8: keywords.has('SMTPUTF8'),
    startTls: keywords.has('STARTTLS'),
    size: keywords.has('SIZE'),
    sizeMax: positiveNumber(keywords.get('SIZE')),
    recipientsMax: positiveNumber(/(?:^| )RCPTMAX=([0-9]+)/i.exec(keywords.get('LIMITS') ?? '')?.[1]),
  }
}

/** RFC 1870 4: `SIZE` alone and `SIZE 0` say that there is no fixed maximum. */
function positiveNumber(text: string | undefined): number {
  if (text === undefined || !/^[0-9]{1,15}$/.test(text.trim())) return Infinity
  const value = Number(text)
  return value === 0 ? Infinity : value
}
