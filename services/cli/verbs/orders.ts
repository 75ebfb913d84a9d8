/**
 * `qmq audit orders`: who ordered what, and whether the logs are unchanged; the first broken line is named, and exit code 1. Reads the logs
 * of all control instances of this state as files, running or not, or asks the control process of a context.
 */

import fs from 'node:fs'
import { type ChainedEntry, type ChainVerdict, readChained, verifyChain } from '../../control/order-log/order-chain.ts'
import { layoutFileName, readLayoutFile } from '../../runtime/tier-layout.ts'
import { ControlClient } from '../control-client.ts'
import { complainOf } from '../refused-order.ts'
import { textTable } from '../text-table.ts'
import { type Context, countOption, type ExitCode, type Input, type Verb } from '../verb.ts'

export const ordersVerb: Verb = {
  name: 'audit orders',
  summary: 'show who ordered what, and check the log of orders',
  remote: true,
  options: [['--limit <number>', 'the last so many lines of each log, default 100']],
  run: orders,
}

const orderLogName = 'orders.log'
const linesMax = 1000

interface Seen {
  /** The file, or the name of the context. */
  readonly log: string
  readonly verdict: ChainVerdict
  readonly entries: readonly ChainedEntry[]
}

async function orders(context: Context, input: Input): Promise<ExitCode> {
  const limit = countOption(input, 'limit', 100)
  if (limit === undefined || limit > linesMax) {
    context.complain(`--limit is a whole number from 1 to ${linesMax}`)
    return 2
  }
  const seen = context.remote === undefined ? await readLogs(context, limit) : await askLog(context, limit)
  if (typeof seen === 'number') return seen
  if (context.output === 'json') context.print(JSON.stringify(seen))
  else for (const one of seen) context.print(seenText(one))
  const broken = seen.filter(({ verdict }) => !verdict.intact)
  for (const { log, verdict } of broken)
    context.complain(`${log}: line ${verdict.brokenLine} is broken: ${verdict.why}`)
  return broken.length === 0 ? 0 : 1
}

async function readLogs({ world, state }: Context, limit: number): Promise<readonly Seen[]> {
  const layout = await readLayoutFile(world.disk, `${state}/${layoutFileName}`)
  if (typeof layout === 'string') throw new Error(`${state}/${layoutFileName} ${layout}`)
  return layout.control.flatMap(({ home }) => {
    const log = `${state}/${home}/${orderLogName}`
    if (!fs.existsSync(log)) return []
    const text = fs.readFileSync(log, 'utf8')
    const lines = text.split('\n').slice(0, -1).slice(-limit)
    return [{ log, verdict: verifyChain(text), entries: lines.flatMap((line) => readChained(line) ?? []) }]
  })
}

async function askLog(context: Context, limit: number): Promise<readonly Seen[] | ExitCode> {
  const client = await ControlClient.open(context)
  try {
    const verdict = await client.ask<ChainVerdict>('AuditLogService', 'VerifyAuditLog', {})
    if (verdict.kind === 'failed') return complainOf(context, verdict.failure)
    const read = await client.ask<{ entries: readonly ChainedEntry[] }>('AuditLogService', 'ReadAuditLog', { limit })
    if (read.kind === 'failed') return complainOf(context, read.failure)
    return [{ log: context.remote?.name ?? '', verdict: verdict.value, entries: read.value.entries }]
  } finally {
    client.close()
  }
}

function seenText({ log, verdict, entries }: Seen): string {
  const rows = entries.map(({ number, at, kind, of, who, method, arguments: given, reason, result }) => {
    const what = kind === 'order' ? `${method.split('/').at(-1)} ${given}` : `of ${of}: ${result}`
    return [String(number), new Date(at).toISOString(), kind, who, what, reason]
  })
  const state = verdict.intact ? `${verdict.lines} lines, unchanged, ends in ${verdict.hash}` : 'BROKEN'
  return `${log}: ${state}\n\n${textTable(['NO', 'AT', 'KIND', 'WHO', 'WHAT', 'REASON'], rows)}`
}
