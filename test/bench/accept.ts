/**
 * Accept rate over SMTP, with the processor time and disk bytes each message costs the server.
 *
 * Rate is messages divided by the wall time of `smtp-source`; usage is read over the server's whole process tree before
 * and after. Every message is durable before its 250 on both sides.
 */

import { usageBetween, usageOf } from '../support/process-tree.ts'
import { type BenchOptions, type Measure, wanted } from './measure.ts'
import { messagesFor, type SmtpLoad, smtpLoad } from './smtp-load.ts'
import { type SmtpSubject, startSubject } from './smtp-subject.ts'

interface AcceptCase {
  readonly name: string
  readonly kibibytes: number
  readonly sessions: number
  readonly reuse: boolean
}

export function acceptCases(quick: boolean): AcceptCase[] {
  const cases: AcceptCase[] = []
  for (const kibibytes of quick ? [10] : [1, 10, 100]) {
    for (const sessions of quick ? [20] : [1, 20, 100]) {
      for (const reuse of [true, false]) {
        const name = `${kibibytes}KiB s${sessions} ${reuse ? 'reuse' : 'connection each'}`
        cases.push({ name, kibibytes, sessions, reuse })
      }
    }
  }
  return cases
}

export const accept: Measure = {
  name: 'accept',
  what: 'SMTP in, durable: messages per second, CPU and disk per message',
  async run(options) {
    for (const one of acceptCases(options.quick)) {
      if (wanted(options, one.name)) await runCase(options, one)
    }
  },
}

async function runCase(options: BenchOptions, one: AcceptCase): Promise<void> {
  const names = options.subjects.filter((name) => name !== 'floor')
  const subjects: { subject: SmtpSubject; load: SmtpLoad }[] = []
  try {
    for (const name of names) {
      const subject = await startSubject(name, options.directory, { kind: 'accept' })
      const { port } = subject
      const trial: SmtpLoad = { ...one, port, bytes: one.kibibytes * 1024, messages: Math.max(100, one.sessions * 5) }
      subjects.push({ subject, load: trial })
      const messages = await messagesFor(trial, options.quick ? 1 : 3)
      subjects[subjects.length - 1] = { subject, load: { ...trial, messages } }
    }
    for (let run = 1; run <= options.runs; run++) {
      for (const { subject, load } of subjects) {
        options.record({
          measure: 'accept',
          case: one.name,
          subject: subject.name,
          run,
          figures: await sample(subject, load),
        })
        await subject.empty()
      }
    }
  } finally {
    for (const { subject } of subjects) await subject.stop()
  }
}

async function sample(subject: SmtpSubject, load: SmtpLoad): Promise<Record<string, number>> {
  const before = usageOf(subject.pid)
  const tookMs = await smtpLoad(load)
  const used = usageBetween(before, usageOf(subject.pid))
  return {
    messagesPerSecond: load.messages / (tookMs / 1000),
    cpuMsPerMessage: used.cpuMs / load.messages,
    writtenBytesPerMessage: used.writtenBytes / load.messages,
  }
}
