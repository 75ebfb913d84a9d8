/** The layout of the shipped conf-qmq, and of any other text, for tests. Throws with every problem where the text is bad. */

import { readFileSync } from 'node:fs'
import type { Layout } from '../../services/contract/layout.ts'
import { compile } from '../../services/control/layout/compile.ts'
import { writeProblem } from '../../services/settings/conf-problem.ts'
import { readConf } from '../../services/settings/conf-qmq.ts'

export const shippedConf = readFileSync(new URL('../../conf-qmq', import.meta.url), 'utf8')

export function shippedLayout(epoch: number): Layout {
  return layoutOf(shippedConf, epoch)
}

export function layoutOf(text: string, epoch = 1): Layout {
  const reading = readConf(text)
  if (!reading.ok) throw new Error(reading.problems.map(writeProblem).join('\n'))
  return compile(reading.conf, epoch)
}
