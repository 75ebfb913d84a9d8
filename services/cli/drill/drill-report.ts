/**
 * What a drill showed, and whether that is what qmq promises: a dependency that is gone delays no mail, a process that dies costs at most an
 * answer that a client has to ask for again, and nothing that was accepted is lost. Pure.
 */

import { textTable } from '../text-table.ts'

export type Phase = 'before' | 'during' | 'after'

export type ProbeOutcome =
  | { readonly kind: 'accepted'; readonly id: string }
  /** 4yz. */
  | { readonly kind: 'temporary'; readonly text: string }
  /** 5yz: what must never be said because something of ours is gone. */
  | { readonly kind: 'permanent'; readonly text: string }
  /** The edge could not be reached, or the connection broke before the reply. */
  | { readonly kind: 'unanswered'; readonly text: string }

export interface Probe {
  readonly phase: Phase
  readonly outcome: ProbeOutcome
}

export interface DrillFindings {
  /** `nats-down`, `redis-down`, `kill 01`. */
  readonly drill: string
  /** Only then may a probe go unaccepted during the fault. */
  readonly isKill: boolean
  readonly probes: readonly Probe[]
  /** Ids of accepted probes that did not arrive in time, each with what is known of it. */
  readonly missing: readonly { readonly id: string; readonly why: string }[]
  /** Why the fault was none; undefined where it was seen to be one. */
  readonly unfelt: string | undefined
  /** Who is not back as it was before, and how it is. */
  readonly absent: readonly string[]
  readonly backMs: number
  /** Instances whose mail does not add up, or who cannot say. */
  readonly unbalanced: readonly string[]
}

export interface PhaseCount {
  readonly phase: Phase
  readonly sent: number
  readonly accepted: number
  readonly temporary: number
  readonly permanent: number
  readonly unanswered: number
}

export interface DrillReport {
  readonly drill: string
  readonly held: boolean
  readonly phases: readonly PhaseCount[]
  readonly arrived: number
  readonly missing: readonly { readonly id: string; readonly why: string }[]
  readonly felt: boolean
  readonly back: boolean
  readonly backMs: number
  readonly balanced: boolean
  /** Every promise that was not kept, in words. */
  readonly problems: readonly string[]
}

const phases: readonly Phase[] = ['before', 'during', 'after']

export function reportOf(findings: DrillFindings): DrillReport {
  const { drill, missing, unfelt, absent, backMs, unbalanced } = findings
  const counts = phases.map((phase) => countOf(findings.probes, phase))
  const accepted = counts.reduce((sum, count) => sum + count.accepted, 0)
  const problems = problemsOf(findings, counts)
  return {
    drill,
    held: problems.length === 0,
    phases: counts,
    arrived: accepted - missing.length,
    missing,
    felt: unfelt === undefined,
    back: absent.length === 0,
    backMs,
    balanced: unbalanced.length === 0,
    problems,
  }
}

function countOf(probes: readonly Probe[], phase: Phase): PhaseCount {
  const outcomes = probes.filter((probe) => probe.phase === phase).map(({ outcome }) => outcome.kind)
  const of = (kind: ProbeOutcome['kind']) => outcomes.filter((one) => one === kind).length
  const [accepted, temporary, permanent, unanswered] = [
    of('accepted'),
    of('temporary'),
    of('permanent'),
    of('unanswered'),
  ]
  return { phase, sent: outcomes.length, accepted, temporary, permanent, unanswered }
}

function problemsOf(findings: DrillFindings, counts: readonly PhaseCount[]): readonly string[] {
  const { missing, unfelt, absent, unbalanced, isKill, probes } = findings
  const lines: string[] = []
  for (const { phase, sent, accepted, permanent } of counts) {
    if (sent === 0) lines.push(`no probe was sent ${phase} the fault`)
    if (permanent > 0) lines.push(`${permanent} probes were refused for good ${phase} the fault`)
    const mayWait = isKill && phase === 'during'
    const waited = sent - accepted - permanent
    if (waited > 0 && !mayWait) lines.push(`${waited} of ${sent} probes were not accepted ${phase} the fault`)
  }
  const refusal = probes.find(({ outcome }) => outcome.kind !== 'accepted' && !isExcused(findings, outcome.kind))
  if (refusal !== undefined && refusal.outcome.kind !== 'accepted') {
    lines.push(`the first of them, ${refusal.phase}: ${refusal.outcome.text}`)
  }
  if (unfelt !== undefined) lines.push(`the fault was none: ${unfelt}`)
  if (missing.length > 0) lines.push(`${missing.length} accepted probes did not arrive`)
  lines.push(...absent.map((one) => `not back: ${one}`), ...unbalanced.map((one) => `not balanced: ${one}`))
  return lines
}

/** A kill is allowed to make clients wait; nothing is allowed to refuse them. */
function isExcused({ isKill }: DrillFindings, kind: ProbeOutcome['kind']): boolean {
  return isKill && kind !== 'permanent'
}

export function drillText(report: DrillReport): string {
  const { drill, held, phases: counts, arrived, missing, back, backMs, balanced, problems } = report
  const rows = counts.map(({ phase, sent, accepted, temporary, permanent, unanswered }) => [
    phase,
    ...[sent, accepted, temporary, permanent, unanswered].map(String),
  ])
  const accepted = counts.reduce((sum, count) => sum + count.accepted, 0)
  const facts = [
    ['arrived', `${arrived} of ${accepted} accepted`],
    ['audit', balanced ? 'balanced' : 'NOT balanced'],
    ['back', back ? `everything, ${(backMs / 1000).toFixed(1)} s after the fault ended` : 'NO'],
    ['held', held ? 'yes' : 'NO'],
  ]
  const width = Math.max(...facts.map(([name = '']) => name.length))
  return [
    textTable([drill.toUpperCase(), 'SENT', 'ACCEPTED', '4XX', '5XX', 'NO ANSWER'], rows),
    '',
    ...facts.map(([name = '', value = '']) => `${name.padEnd(width)}  ${value}`),
    ...problems.map((problem) => `- ${problem}`),
    ...missing.map(({ id, why }) => `- ${id}: ${why}`),
  ].join('\n')
}
