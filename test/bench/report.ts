/**
 * The closing table: medians over the runs, one row per case, and beside each of our figures its ratio to the peer's.
 */

import type { Sample, Subject } from './measure.ts'
import { figure, median, table } from './statistics.ts'

/** The peers a figure of ours is set against, first found. */
const yardsticks: readonly Subject[] = ['postfix', 'floor']

export function reportOf(samples: readonly Sample[]): string {
  const measures = [...new Set(samples.map((sample) => sample.measure))]
  return measures.map((measure) => reportOfMeasure(samples, measure)).join('\n')
}

function reportOfMeasure(samples: readonly Sample[], measure: string): string {
  const ours = samples.filter((sample) => sample.measure === measure)
  const rows: string[][] = [[measure, 'figure', 'postfix', 'floor', 'qmq', 'qmq to peer', 'runs']]
  // A case that only one subject has (fewer idle connections for Postfix) still gets its row.
  for (const name of new Set(ours.map((sample) => sample.case))) {
    const inCase = ours.filter((sample) => sample.case === name)
    for (const key of new Set(inCase.flatMap((sample) => Object.keys(sample.figures)))) {
      const of = (subject: Subject): number => median(valuesOf(inCase, subject, key))
      const peer = yardsticks.map(of).find((value) => !Number.isNaN(value)) ?? Number.NaN
      const ratio = of('qmq') / peer
      const runs = Math.max(...inCase.map((sample) => sample.run))
      rows.push([name, key, figure(of('postfix')), figure(of('floor')), figure(of('qmq')), figure(ratio), String(runs)])
    }
  }
  return table(rows)
}

function valuesOf(samples: readonly Sample[], subject: Subject, key: string): number[] {
  return samples.flatMap((sample) => (sample.subject === subject ? (sample.figures[key] ?? []) : []))
}
