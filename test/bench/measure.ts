/**
 * What a measure is, and how its samples are kept: one JSON line per sample, medians in the closing table.
 *
 * A measure takes its subjects in turn, run by run, so that whatever disturbs the machine disturbs all of them alike.
 */

export type Subject = 'qmq' | 'postfix' | 'floor'

export interface Sample {
  readonly measure: string
  /** What was asked, in a few words: `10KiB s20 reuse`. */
  readonly case: string
  readonly subject: Subject
  readonly run: number
  /** By name, unit last: `messagesPerSecond`, `cpuMsPerMessage`. */
  readonly figures: Readonly<Record<string, number>>
}

export interface BenchOptions {
  readonly runs: number
  /** Fewer cases, shorter runs: to see that it works, not to quote. */
  readonly quick: boolean
  /** Parent of the queues and state directories; its disk is what is measured. */
  readonly directory: string
  readonly subjects: readonly Subject[]
  /** Only cases whose name contains it. */
  readonly caseFilter: string
  record(sample: Sample): void
  note(text: string): void
}

export interface Measure {
  readonly name: string
  readonly what: string
  run(options: BenchOptions): Promise<void>
}

export function wanted(options: BenchOptions, name: string): boolean {
  return name.includes(options.caseFilter)
}
