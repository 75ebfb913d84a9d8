/**
 * One record for everything that can go wrong across a tier, and the one place that says temporary or permanent.
 *
 * Unknown means temporary: a message is never bounced for a reason nobody has thought about (style habits 5 and 6).
 */

export type FailureClass = 'temporary' | 'permanent'

/** Whose doing it is: the mail's sender, the next hop, or this system. */
export type FailureBlame = 'sender' | 'peer' | 'self'

export interface Failure {
  readonly class: FailureClass
  readonly blame: FailureBlame
  /** SMTP reply code, RFC 5321 4.2. */
  readonly code: number
  /** RFC 3463, without its class digit matching `class` being broken: `4.4.1`, `5.1.1`. */
  readonly enhanced: string
  /** Safe to show to the peer; one line, no control characters. */
  readonly text: string
}

export function temporary(blame: FailureBlame, enhanced: string, text: string, code = 451): Failure {
  return { class: 'temporary', blame, code, enhanced, text }
}

export function permanent(blame: FailureBlame, enhanced: string, text: string, code = 554): Failure {
  return { class: 'permanent', blame, code, enhanced, text }
}

/** Class of a remote SMTP reply code: RFC 5321 4.2.1. Anything that is not 5yz is temporary. */
export function classOfReply(code: number): FailureClass {
  return code >= 500 && code <= 599 ? 'permanent' : 'temporary'
}

/** Class of an operating system or DNS error by Node's code: only a domain that does not exist is permanent. */
export function classOfSystemError(code: string | undefined): FailureClass {
  return code === 'ENOTFOUND' ? 'permanent' : 'temporary'
}

/** `code` of an unknown thrown value, '' where it has none. */
export function errorCode(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return ''
  return typeof error.code === 'string' ? error.code : ''
}

export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
