/** Every limit of the SMTP client. Milliseconds and counts; times are those RFC 5321 4.5.3.2 asks a client to wait. */

export interface SmtpTransportLimits {
  readonly connectTimeoutMs: number
  readonly greetingTimeoutMs: number
  /** EHLO, STARTTLS and the TLS handshake. */
  readonly helloTimeoutMs: number
  /** MAIL, RCPT and DATA, each reply. */
  readonly envelopeTimeoutMs: number
  /** Between two pieces of the body that the server takes. */
  readonly bodyTimeoutMs: number
  /** Long, because a server that has the message and is not waited for gets it twice. */
  readonly finalDotTimeoutMs: number
  readonly quitTimeoutMs: number
  /** All DNS questions of one attempt. */
  readonly resolveTimeoutMs: number
  /** An open connection waits this long for the next message. */
  readonly idleTimeoutMs: number
  readonly messagesPerConnectionMax: number
  readonly idleConnectionsMax: number
  /** Addresses tried in one attempt. */
  readonly targetsPerAttemptMax: number
  /** How long the targets of a domain are believed, and of how many domains. */
  readonly targetsKeptMs: number
  readonly targetsKeptMax: number
}

const second = 1000
const minute = 60 * second

export const defaultSmtpTransportLimits: SmtpTransportLimits = {
  connectTimeoutMs: minute,
  greetingTimeoutMs: 5 * minute,
  helloTimeoutMs: 5 * minute,
  envelopeTimeoutMs: 5 * minute,
  bodyTimeoutMs: 2 * minute,
  finalDotTimeoutMs: 10 * minute,
  quitTimeoutMs: 5 * second,
  resolveTimeoutMs: minute,
  idleTimeoutMs: 5 * second,
  messagesPerConnectionMax: 100,
  idleConnectionsMax: 1000,
  targetsPerAttemptMax: 5,
  targetsKeptMs: minute,
  targetsKeptMax: 10_000,
}
