/**
 * The layout that follows from conf-qmq and from what the cluster has already: what was ordered while it ran is carried over, the epoch
 * counts on from the highest that any file here claims, and the fence is never lowered.
 */

import fs from 'node:fs'
import type { Layout } from '../contract/layout.ts'
import { makeTransactionId } from '../contract/transaction-id.ts'
import { type CarryOver, carryOver } from '../control/layout/carry-over.ts'
import { compile } from '../control/layout/compile.ts'
import type { OrderFrame } from '../control/layout/order.ts'
import { claimedEpoch, layoutAbsent, layoutFileName, readLayoutFile, tierDirectories } from '../runtime/tier-layout.ts'
import type { Disk } from '../runtime/world.ts'
import type { Conf } from '../settings/conf.ts'
import { readLayout } from '../settings/layout-record.ts'
import { ensureSelfSigned } from './self-signed.ts'
import type { Context } from './verb.ts'

export interface KnownLayouts {
  /** That of layout.json, where it can be read. */
  readonly file: Layout | undefined
  /** The newest of all that can be read: a home may have taken one that layout.json did not live to see. */
  readonly newest: Layout | undefined
  /** The highest epoch any file claims, readable or not. */
  readonly highestEpoch: number
  /** Why layout.json cannot be used, where it is there and cannot. */
  readonly why: string | undefined
}

/** Looks at layout.json and at the copies in the homes. */
export async function knownLayouts(disk: Disk, state: string): Promise<KnownLayouts> {
  const read = await readLayoutFile(disk, `${state}/${layoutFileName}`)
  const file = typeof read === 'string' ? undefined : read
  const why = typeof read === 'string' && read !== layoutAbsent ? read : undefined
  let [newest, highestEpoch] = [file, await claimedEpoch(disk, `${state}/${layoutFileName}`)]
  for (const copy of await layoutCopies(disk, state)) {
    const epoch = await claimedEpoch(disk, copy)
    highestEpoch = Math.max(highestEpoch, epoch)
    if (epoch <= (newest?.epoch ?? 0)) continue
    const layout = await readLayoutFile(disk, copy)
    if (typeof layout !== 'string') newest = layout
  }
  return { file, newest, highestEpoch, why }
}

async function layoutCopies(disk: Disk, state: string): Promise<readonly string[]> {
  const copies: string[] = []
  for (const tier of Object.values(tierDirectories)) {
    const names = fs.existsSync(`${state}/${tier}`) ? await disk.list(`${state}/${tier}`) : []
    copies.push(...names.map((name) => `${state}/${tier}/${name}/${layoutFileName}`))
  }
  return copies
}

/** `before` itself where nothing changed and no file claims a later epoch; else the next one, with notes for people. */
export async function nextLayout(context: Context, conf: Conf, known: KnownLayouts): Promise<CarryOver> {
  const { newest, file, highestEpoch } = known
  const tls = conf.edge.tls ?? (await certificateOf(context, conf))
  const complete = (epoch: number): CarryOver => {
    const compiled = compile(conf, epoch)
    const layout =
      tls === undefined ? compiled : { ...compiled, edges: compiled.edges.map((edge) => ({ ...edge, tls })) }
    const { layout: next, notes } = newest === undefined ? { layout, notes: [] } : carried(context, layout, newest)
    return { layout: asRead(next), notes }
  }
  if (file !== undefined && file.epoch === highestEpoch) {
    const same = complete(file.epoch)
    if (sameJson(same.layout, file)) return { layout: file, notes: same.notes }
  }
  return complete(highestEpoch + 1)
}

/** As every tier will read it, in the form in which it compares with what is in force; throws where no tier would take it. */
function asRead(layout: Layout): Layout {
  const reading = readLayout(JSON.parse(JSON.stringify(layout)))
  if (!reading.ok) throw new Error(`conf-qmq gives a layout that no tier would take: ${reading.why}`)
  return reading.layout
}

function carried(context: Context, compiled: Layout, before: Layout): CarryOver {
  const { state, world, confFile } = context
  const at = world.clock.now()
  const frameFor = (pool: string): OrderFrame => ({
    ...{ fence: before.fence, plan: makeTransactionId(at, world.random.bytes(10)), at, by: 'conf-qmq' },
    ...{ reason: `the count of ${pool} in ${confFile}`, force: false, lost: new Set() },
  })
  const mayHoldMail = (id: string) => fs.existsSync(`${state}/${tierDirectories.queue}/${id}/journal`)
  const result = carryOver({ compiled, before, mayHoldMail, frameFor })
  const isIdle = result.layout.plans.length > 0 && result.layout.control.length === 0
  const idle = 'no control process runs, so nobody carries the plan out: set control: count: 1 in conf-qmq'
  return isIdle ? { ...result, notes: [...result.notes, idle] } : result
}

async function certificateOf(
  context: Context,
  conf: Conf,
): Promise<{ certificateFile: string; keyFile: string } | undefined> {
  const certificate = await ensureSelfSigned(context, conf.cluster)
  if (certificate.kind === 'ready') {
    const { certificateFile, keyFile } = certificate
    return { certificateFile, keyFile }
  }
  context.complain(`no TLS is offered: ${certificate.why}`)
  return undefined
}

/** Equal values; the order of keys is nobody's matter. */
export function sameJson(one: unknown, other: unknown): boolean {
  return canonical(one) === canonical(other)
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  )
}
