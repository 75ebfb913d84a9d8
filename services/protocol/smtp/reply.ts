/**
 * SMTP replies, RFC 5321 4.2: the one writer and the one reader.
 *
 * Writing is strict: control bytes in a text become `?`, so that no text can begin a second reply line. Reading forgives what
 * servers on the Internet do (a bare LF as line end, no text, an enhanced code on some lines only) and nothing
 * that could put replies out of step: a line without a code, or lines of one reply with different codes, is malformed,
 * and a malformed stream stays malformed.
 */

import type { ByteString } from '../byte-string.ts'

export interface Reply {
  /** 200..599. */
  readonly code: number
  /** RFC 3463: `2.1.0`. */
  readonly enhanced?: string
  /** Text of each line, without code and enhanced code. At least one, which may be empty. */
  readonly lines: readonly ByteString[]
}

export interface ReplyLimits {
  /** One line with its line end. RFC 5321 4.5.3.1.5 asks for 512. */
  readonly replyLineBytesMax: number
  readonly replyLinesMax: number
}

export type ReplyEvent =
  | { readonly kind: 'need-data' }
  | { readonly kind: 'reply'; readonly reply: Reply }
  | { readonly kind: 'malformed'; readonly why: string }

export const defaultReplyLimits: ReplyLimits = { replyLineBytesMax: 2048, replyLinesMax: 100 }

/** A reply of one line. `enhanced` '' writes none. */
export function reply(code: number, enhanced: string, text: ByteString): Reply {
  return enhanced === '' ? { code, lines: [text] } : { code, enhanced, lines: [text] }
}

/** The reply as it goes over the wire, each line ending in CR LF. */
export function formatReply(reply: Reply): ByteString {
  const enhanced = reply.enhanced === undefined ? '' : `${reply.enhanced} `
  const last = reply.lines.length - 1
  if (last <= 0) return `${reply.code} ${enhanced}${printable(reply.lines[0] ?? '')}\r\n`
  let text = ''
  for (const [index, line] of reply.lines.entries()) {
    text += `${reply.code}${index === last ? ' ' : '-'}${enhanced}${printable(line)}\r\n`
  }
  return text
}

/** All lines as one, for logs and bounces: `550 5.1.1 no such user`. */
export function replyText(reply: Reply): ByteString {
  return formatReply({ ...reply, lines: [reply.lines.join(' ')] }).slice(0, -2)
}

function printable(text: ByteString): ByteString {
  for (let index = 0; index < text.length; index++) {
    const byte = text.charCodeAt(index)
    if (byte < 32 || byte === 127) return text.replace(/[\x00-\x1f\x7f]/g, '?')
  }
  return text
}

const needData: ReplyEvent = { kind: 'need-data' }
const lineForm = /^([2-5][0-9]{2})(?:([ -])(.*))?$/s
const enhancedForm = /^([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: (.*))?$/s

export class ReplyReader {
  readonly #limits: ReplyLimits
  #input = ''
  #code = 0
  #enhanced: string | undefined
  #lines: ByteString[] = []
  #malformed: ReplyEvent | undefined

  constructor(limits: ReplyLimits = defaultReplyLimits) {
    this.#limits = limits
  }

  /** Bytes received and not yet given out as a reply. */
  get bufferedBytes(): number {
    return this.#input.length
  }

  receive(chunk: Buffer): void {
    if (this.#malformed === undefined) this.#input += chunk.toString('latin1')
  }

  next(): ReplyEvent {
    while (this.#malformed === undefined) {
      const end = this.#input.indexOf('\n')
      const bytes = end < 0 ? this.#input.length : end + 1
      if (bytes > this.#limits.replyLineBytesMax) return this.#fail('reply line too long')
      if (end < 0) return needData
      const line = this.#input.slice(0, this.#input[end - 1] === '\r' ? end - 1 : end)
      this.#input = this.#input.slice(end + 1)
      const event = this.#addLine(line)
      if (event !== undefined) return event
    }
    return this.#malformed
  }

  #addLine(line: string): ReplyEvent | undefined {
    const parts = lineForm.exec(line)
    if (parts === null) return this.#fail('reply line without a code')
    const code = Number(parts[1])
    if (this.#lines.length > 0 && code !== this.#code) return this.#fail('codes of one reply differ')
    if (this.#lines.length >= this.#limits.replyLinesMax) return this.#fail('too many reply lines')
    this.#code = code
    this.#lines.push(this.#withoutEnhanced(parts[3] ?? ''))
    return parts[2] === '-' ? undefined : this.#finish()
  }

  /** The class of an enhanced code must be the reply's own, RFC 2034 4; otherwise the words are just text. */
  #withoutEnhanced(text: string): string {
    const parts = enhancedForm.exec(text)
    const enhanced = parts?.[1]
    if (parts === null || enhanced === undefined || Number(enhanced[0]) !== Math.floor(this.#code / 100)) return text
    if (this.#lines.length > 0 && this.#enhanced !== enhanced) return text
    this.#enhanced = enhanced
    return parts[2] ?? ''
  }

  #finish(): ReplyEvent {
    const lines = this.#lines
    const enhanced = this.#enhanced
    this.#lines = []
    this.#enhanced = undefined
    const reply = enhanced === undefined ? { code: this.#code, lines } : { code: this.#code, enhanced, lines }
    return { kind: 'reply', reply }
  }

  #fail(why: string): ReplyEvent {
    this.#input = ''
    this.#lines = []
    this.#malformed = { kind: 'malformed', why }
    return this.#malformed
  }
}
