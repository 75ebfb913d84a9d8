/**
 * The states of an SMTP server session and what each command may do in them, RFC 5321 4.1.4.
 *
 * `new`: no hello yet, or forgotten by TLS. `ready`: between transactions. `mail`: a sender is known, recipients may follow. `text`:
 * reading the message; no command exists there. A step is `run` or the name of the reply that refuses.
 */

export type State = 'new' | 'ready' | 'mail' | 'text'

export type Verb =
  | 'HELO'
  | 'EHLO'
  | 'MAIL'
  | 'RCPT'
  | 'DATA'
  | 'STARTTLS'
  | 'RSET'
  | 'NOOP'
  | 'HELP'
  | 'VRFY'
  | 'QUIT'
  | 'unknown'

export type Step = 'run' | 'helloFirst' | 'mailFirst' | 'inTransaction'

type Steps = { readonly [verb in Verb]: Step }

const anywhere = {
  HELO: 'run',
  EHLO: 'run',
  RSET: 'run',
  NOOP: 'run',
  HELP: 'run',
  VRFY: 'run',
  QUIT: 'run',
  unknown: 'run',
} as const

const steps: { readonly [state in Exclude<State, 'text'>]: Steps } = {
  new: { ...anywhere, MAIL: 'helloFirst', RCPT: 'helloFirst', DATA: 'helloFirst', STARTTLS: 'helloFirst' },
  ready: { ...anywhere, MAIL: 'run', RCPT: 'mailFirst', DATA: 'mailFirst', STARTTLS: 'run' },
  mail: { ...anywhere, MAIL: 'inTransaction', RCPT: 'run', DATA: 'run', STARTTLS: 'inTransaction' },
}

export function stepOf(state: State, verb: Verb): Step {
  if (state === 'text') throw new Error('a command inside the text of a message')
  return steps[state][verb]
}

const verbs: ReadonlyMap<string, Verb> = new Map(
  (Object.keys(steps.new) as Verb[]).filter((verb) => verb !== 'unknown').map((verb) => [verb, verb]),
)

/** Verbs are matched without regard to case; what we do not serve (EXPN, AUTH, BDAT, ...) is `unknown`. */
export function verbOf(word: string): Verb {
  return verbs.get(word) ?? verbs.get(word.toUpperCase()) ?? 'unknown'
}
