/**
 * The judge: compares the truth outside with the promises, after every fault has healed and the world has come to rest.
 *
 * Lost mail is never excused. A second copy is excused only by a cause that the design names, and that cause must have
 * happened at the right place and time: the client tried again because it was not told 250; the receiver's 250 may not
 * have been heard; the delivering instance crashed between that 250 and its durable mark; or (another instance delivered)
 * the first instance's disk had failed, so that its `Z` may have been wrong. An instance that hands its mail over excuses nothing: a copy
 * from where the mail went must have one of these causes where it was. A report may come twice when its hand-over to the bounce pool was
 * interrupted and another instance of that pool had to be asked: the one that knew it takes no more. Without faults there are none.
 */

import type { Audit } from '../../services/contract/operations.ts'
import { wordsOfRefusal } from './next-hop.ts'
import { type Arrival, type Letter, recipientsNamed, type Truth } from './truth.ts'

export interface Ending {
  readonly truth: Truth
  readonly audits: readonly Audit[]
  /** Where bounces that cannot be delivered end. */
  readonly postmaster: string
  readonly isQuiet: boolean
}

/** A crash this long after an arrival may have hit before its durable mark: the slowest disk's write and sync. */
const markWindowMs = 1500

export function judge(ending: Ending): string[] {
  return [
    ...judgeQuiet(ending),
    ...judgeLetters(ending),
    ...judgeTexts(ending),
    ...judgeCopies(ending),
    ...judgeAudits(ending),
  ]
}

function judgeQuiet({ isQuiet }: Ending): string[] {
  return isQuiet ? [] : ['liveness: all faults have healed, and the queues never became empty']
}

function judgeLetters(ending: Ending): string[] {
  const { truth, postmaster } = ending
  const violations: string[] = []
  const arrived = new Set(truth.arrivals.map((arrival) => arrival.recipient))
  const bounces = truth.arrivals.filter(isBounce)
  const reported = new Map<string, Arrival[]>()
  for (const bounce of bounces) {
    for (const recipient of recipientsNamed(bounce.text)) {
      const known = reported.get(recipient)
      if (known === undefined) reported.set(recipient, [bounce])
      else known.push(bounce)
    }
  }
  for (const letter of truth.letters) {
    for (const recipient of letter.recipients) {
      const reports = (reported.get(recipient) ?? []).filter(
        (bounce) => bounce.recipient === letter.sender || bounce.recipient === postmaster,
      )
      violations.push(...judgeRecipient(truth, letter, recipient, arrived.has(recipient), reports))
    }
  }
  return violations
}

function judgeRecipient(
  truth: Truth,
  letter: Letter,
  recipient: string,
  hasArrived: boolean,
  reports: readonly Arrival[],
): string[] {
  const name = `letter ${letter.token} to ${recipient}`
  const isReported = reports.length > 0
  const isFaultless = truth.faults.size === 0
  if (letter.ackedAtMs !== undefined && !hasArrived && !isReported) return [`lost: ${name} was acknowledged`]
  if (letter.refusedAtMs !== undefined) return [`refused: ${name} got 5yz for no reason of its own`]
  if (letter.attempts.length === 0 && hasArrived) return [`invented: ${name} arrived and was never sent`]
  if (recipient.startsWith('gone-') && hasArrived) return [`invented: ${name} arrived where nobody is`]
  if (recipient.startsWith('ok-') && reports.some(({ text }) => !text.includes(wordsOfRefusal)))
    return [`bounced: ${name} failed for no reason of its own`]
  if (isFaultless && hasArrived && isReported) return [`contradiction: ${name} arrived and was reported as failed`]
  return []
}

/** What arrives is what was sent, byte for byte after the header lines that hops add. */
function judgeTexts({ truth }: Ending): string[] {
  const texts = new Map<string, string>()
  for (const letter of truth.letters) {
    for (const recipient of letter.recipients)
      texts.set(recipient, withoutCarriageReturns(letter.text.toString('latin1')))
  }
  return truth.arrivals.flatMap((arrival) => {
    const text = isBounce(arrival) ? undefined : texts.get(arrival.recipient)
    if (!isBounce(arrival) && text === undefined) return [`invented: ${arrival.recipient} at ${arrival.where}`]
    if (text === undefined || withoutCarriageReturns(arrival.text).endsWith(text)) return []
    return [`damaged: what arrived for ${arrival.recipient} at ${arrival.where} is not what was sent`]
  })
}

function withoutCarriageReturns(text: string): string {
  return text.replaceAll('\r\n', '\n')
}

/** A bounce has the empty sender or the double bounce's; letters from nobody are told apart by their text. */
function isBounce(arrival: Arrival): boolean {
  return (arrival.sender === '' || arrival.sender === '#@[]') && !/^X-Letter: /m.test(headerOf(arrival.text))
}

function headerOf(text: string): string {
  const end = text.search(/\r?\n\r?\n/)
  return end < 0 ? text : text.slice(0, end + 1)
}

/** Copies: of a letter for one recipient, and of the report about one package. */
function judgeCopies({ truth }: Ending): string[] {
  const groups = new Map<string, Arrival[]>()
  for (const arrival of truth.arrivals) {
    const about = isBounce(arrival) ? `report ${arrival.recipient} ${reportedIn(arrival)}` : arrival.recipient
    const group = groups.get(about)
    if (group === undefined) groups.set(about, [arrival])
    else group.push(arrival)
  }
  const violations: string[] = []
  for (const [about, arrivals] of groups) {
    for (let index = 1; index < arrivals.length; index++) {
      const arrival = arrivals[index] as Arrival
      const earlier = arrivals.slice(0, index)
      if (!earlier.some((first) => isExcused(truth, first, arrival))) {
        violations.push(`copy: ${about} arrived ${arrivals.length} times: ${arrivals.map(describe).join(', ')}`)
        break
      }
    }
  }
  return violations
}

function reportedIn(bounce: Arrival): string {
  return [...recipientsNamed(bounce.text)].sort().join()
}

function isExcused(truth: Truth, first: Arrival, second: Arrival): boolean {
  if (first.id !== second.id && wasTriedAgain(truth, second.recipient)) return true
  if (isBounce(first) && first.id !== second.id) return wasReportTriedAgain(truth, first)
  if (isBounce(first) && truth.faults.size > 0 && poolChanged(truth, second)) return true
  const mayHaveMoved = truth.drains.some(({ host, atMs }) => host === first.from && atMs <= second.atMs)
  if (first.from !== second.from && !mayHaveMoved)
    return diskFailed(truth, first.from) || diskFailed(truth, second.from)
  if (!first.isConfirmed && truth.faults.size > 0) return true
  return truth.crashes.some((crash) => crash.host === first.from && isInMarkWindow(crash.atMs, first))
}

/** Of mail in a mailbox it is not known when it came. */
function isInMarkWindow(crashAtMs: number, arrival: Arrival): boolean {
  if (arrival.where === 'maildir') return true
  return crashAtMs >= arrival.atMs && crashAtMs <= arrival.atMs + markWindowMs
}

/** The client was not told 250 for an earlier try, and so tried again. */
function wasTriedAgain(truth: Truth, recipient: string): boolean {
  const letter = truth.letters.find((candidate) => candidate.recipients.includes(recipient))
  return letter !== undefined && letter.attempts.length > 1
}

function wasReportTriedAgain(truth: Truth, bounce: Arrival): boolean {
  return [...recipientsNamed(bounce.text)].some((recipient) => wasTriedAgain(truth, recipient))
}

function poolChanged(truth: Truth, arrival: Arrival): boolean {
  return truth.poolChangesMs.some((atMs) => atMs <= arrival.atMs)
}

function diskFailed(truth: Truth, host: string): boolean {
  return truth.crashes.some((crash) => crash.host === host && crash.kind === 'disk')
}

function describe(arrival: Arrival): string {
  const heard = arrival.isConfirmed ? '' : ' (our 250 perhaps unheard)'
  return `${arrival.id} from ${arrival.from} at ${arrival.atMs.toFixed(0)} ms${heard}`
}

function judgeAudits({ audits }: Ending): string[] {
  const violations: string[] = []
  const sum = (name: 'takenOver' | 'handedOver'): number => audits.reduce((total, audit) => total + audit[name], 0)
  if (sum('takenOver') !== sum('handedOver'))
    violations.push(`moved: ${sum('handedOver')} recipients left and ${sum('takenOver')} arrived`)
  for (const audit of audits) {
    if (!audit.balanced)
      violations.push(`audit: instance ${audit.instance} is out of balance: ${JSON.stringify(audit)}`)
    if (audit.queued !== 0)
      violations.push(`audit: instance ${audit.instance} still has mail: ${JSON.stringify(audit)}`)
    if (audit.quarantined !== 0)
      violations.push(`audit: instance ${audit.instance} found damage: ${JSON.stringify(audit)}`)
  }
  return violations
}
