/**
 * Relay rate: from the first byte of `smtp-source` until the last message has arrived at `smtp-sink`.
 */

import { Child } from '../support/child.ts'
import { freePortRange } from '../support/free-ports.ts'
import { usageBetween, usageOf } from '../support/process-tree.ts'
import { tool } from '../support/tools.ts'
import { type BenchOptions, type Measure, wanted } from './measure.ts'
import { type SmtpLoad, smtpLoad } from './smtp-load.ts'
import { type SmtpSubject, startSubject } from './smtp-subject.ts'

const arrivalTimeoutMs = 300_000

export const relay: Measure = {
  name: 'relay',
  what: 'SMTP in to SMTP out, until the last arrival: messages per second',
  async run(options) {
    for (const sessions of options.quick ? [20] : [20, 100]) {
      for (const reuse of [true, false]) {
        const name = `10KiB s${sessions} ${reuse ? 'reuse' : 'connection each'}`
        if (wanted(options, name)) await runCase(options, name, sessions, reuse)
      }
    }
  },
}

/** `smtp-sink`, which prints its counters as mail arrives. */
class Sink {
  readonly port: number
  readonly #child: Child

  private constructor(port: number) {
    this.port = port
    this.#child = new Child(tool('smtp-sink'), ['-u', 'nobody', '-c', `127.0.0.1:${port}`, '1000'])
  }

  static async start(): Promise<Sink> {
    return new Sink(await freePortRange(1))
  }

  get messages(): number {
    const last = this.#child.stdout.lastIndexOf('mesg=')
    const value = last < 0 ? 0 : Number.parseInt(this.#child.stdout.slice(last + 5), 10)
    // Its counters alone would fill the memory of a long run.
    if (this.#child.stdout.length > 1_000_000) this.#child.stdout = `mesg=${value}`
    return value
  }

  async reaches(messages: number): Promise<void> {
    await this.#child.until(() => (this.messages >= messages ? true : undefined), arrivalTimeoutMs)
  }

  async stop(): Promise<void> {
    await this.#child.stop()
  }
}

async function runCase(options: BenchOptions, name: string, sessions: number, reuse: boolean): Promise<void> {
  const pairs: { subject: SmtpSubject; sink: Sink }[] = []
  const load = { sessions, reuse, bytes: 10 * 1024 }
  try {
    for (const subjectName of options.subjects.filter((one) => one !== 'floor')) {
      const sink = await Sink.start()
      pairs.push({
        sink,
        subject: await startSubject(subjectName, options.directory, { kind: 'relay', port: sink.port }),
      })
    }
    for (const pair of pairs) await sample(pair, { ...load, port: pair.subject.port, messages: 2000 })
    for (let run = 1; run <= options.runs; run++) {
      for (const pair of pairs) {
        const messages = options.quick ? 1500 : 5000
        const figures = await sample(pair, { ...load, port: pair.subject.port, messages })
        options.record({ measure: 'relay', case: name, subject: pair.subject.name, run, figures })
      }
    }
  } finally {
    for (const { subject, sink } of pairs) {
      await subject.stop()
      await sink.stop()
    }
  }
}

async function sample(pair: { subject: SmtpSubject; sink: Sink }, load: SmtpLoad): Promise<Record<string, number>> {
  const before = usageOf(pair.subject.pid)
  const arrived = pair.sink.messages
  const begun = performance.now()
  await smtpLoad(load)
  await pair.sink.reaches(arrived + load.messages)
  const tookMs = performance.now() - begun
  const used = usageBetween(before, usageOf(pair.subject.pid))
  return {
    messagesPerSecond: load.messages / (tookMs / 1000),
    cpuMsPerMessage: used.cpuMs / load.messages,
    writtenBytesPerMessage: used.writtenBytes / load.messages,
  }
}
