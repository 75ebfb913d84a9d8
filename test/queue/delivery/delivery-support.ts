/** What the delivery tests share: attempts, a silent log, a DNS that is a table, a wait that fails in words. */

import type { Attempt, Body, Destination, Outcome, Transport } from '../../../services/contract/delivery.ts'
import { systemWorld } from '../../../services/runtime/system-world.ts'
import type { Log, MailExchanger, Resolver, World } from '../../../services/runtime/world.ts'

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }

export type DnsTable = Readonly<
  Record<string, { readonly mx?: readonly string[]; readonly a?: readonly string[] } | string>
>

/** `{mx: ['10 mx.example']}`, `{a: [...]}`, or the error code of every question about the name. */
export class TableResolver implements Resolver {
  readonly questions: string[] = []
  readonly #table: DnsTable

  constructor(table: DnsTable) {
    this.#table = table
  }

  async mailExchangers(domain: string): Promise<MailExchanger[]> {
    this.questions.push(`mx ${domain}`)
    const records = this.#entry(domain).mx
    if (records === undefined) throw Object.assign(new Error('no data'), { code: 'ENODATA' })
    return records.map((record) => {
      const [preference = '', name = ''] = record.split(' ')
      return { preference: Number(preference), name }
    })
  }

  async addresses(host: string): Promise<string[]> {
    this.questions.push(`a ${host}`)
    const records = this.#entry(host).a
    if (records === undefined) throw Object.assign(new Error('no data'), { code: 'ENODATA' })
    return [...records]
  }

  #entry(name: string): { readonly mx?: readonly string[]; readonly a?: readonly string[] } {
    const entry = this.#table[name] ?? 'ENOTFOUND'
    if (typeof entry === 'string') throw Object.assign(new Error(entry), { code: entry })
    return entry
  }
}

export function testWorld(table: DnsTable = {}): World & { readonly resolver: TableResolver } {
  return { ...systemWorld(silentLog), resolver: new TableResolver(table) }
}

export function bodyOf(text: string, form: 'lf' | 'crlf' = 'crlf', later = false): Body {
  const bytes = Buffer.from(text, 'latin1')
  return {
    form,
    bytes: bytes.length,
    slice: (position, length) => {
      const piece = bytes.subarray(position, position + length)
      return later ? Promise.resolve(piece) : piece
    },
  }
}

export function attemptTo(destination: Destination, changes: Partial<Attempt> = {}): Attempt {
  return {
    id: '01JDB0000000000000000000AA',
    sender: 'a@one.example',
    recipients: ['b@two.example'],
    body: bodyOf('Subject: x\r\n\r\n.hello\r\n'),
    birthAt: 0,
    ...changes,
    destination,
  }
}

export function smtpTo(port: number): Destination {
  return { key: `smtp:127.0.0.1:${port}`, kind: 'smtp', host: '127.0.0.1', port }
}

export function mxOf(domain: string): Destination {
  return { key: `mx:${domain}`, kind: 'mx', domain }
}

/** The outcomes in one word each line; fails where they are given twice. */
export function outcomesOf(transport: Transport, attempt: Attempt): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    let inside = true
    let answered = false
    transport.attempt(attempt, (outcomes: readonly Outcome[]) => {
      if (inside) reject(new Error('answered from inside attempt'))
      if (answered) throw new Error('answered twice')
      answered = true
      if (outcomes.length !== attempt.recipients.length) reject(new Error('one outcome per recipient is owed'))
      resolve(outcomes.map(wordsOf))
    })
    inside = false
  })
}

function wordsOf(outcome: Outcome): string {
  if (outcome.kind === 'delivered') return `ok ${outcome.text}`
  return `${outcome.failure.class} ${outcome.failure.enhanced} ${outcome.failure.text}`
}

export async function until(what: string, condition: () => boolean, limitMs = 5000): Promise<void> {
  const end = Date.now() + limitMs
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
