/**
 * From conf-qmq to a state directory the tiers can start from: the layout with its epoch, every home with its control
 * files, the certificate. First a plan, so that nothing is written that cannot be carried out. Idempotent; removes only control
 * files that an earlier layout put there.
 */

import fs from 'node:fs'
import type { Layout } from '../contract/layout.ts'
import { diffControl } from '../control/layout/control-difference.ts'
import { type ControlFiles, controlFiles } from '../control/layout/control-files.ts'
import { readFileIfThere, removeIfThere, writeFileDurably } from '../runtime/durable-file.ts'
import { ensureClusterKey } from '../runtime/signature.ts'
import { keepLayoutKeys } from '../runtime/signed-layout.ts'
import { layoutFileName, writeLayoutFile } from '../runtime/tier-layout.ts'
import type { Disk } from '../runtime/world.ts'
import type { Conf } from '../settings/conf.ts'
import { writeProblem } from '../settings/conf-problem.ts'
import { readConf } from '../settings/conf-qmq.ts'
import { type KnownLayouts, knownLayouts, nextLayout } from './next-layout.ts'
import type { Context } from './verb.ts'

type ConfFile =
  | { readonly kind: 'read'; readonly conf: Conf; readonly notes: readonly string[] }
  /** One line each, with file, line and remedy. */
  | { readonly kind: 'wrong'; readonly problems: readonly string[] }

export function readConfFile(file: string): ConfFile {
  let text: string
  try {
    text = fs.readFileSync(file, 'utf8')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return { kind: 'wrong', problems: [`${file}: cannot be read (${why}); name another with --conf`] }
  }
  if (!/^\s*[^#\s]/m.test(text)) {
    return { kind: 'wrong', problems: [`${file}: says nothing yet; start from the conf-qmq that comes with qmq`] }
  }
  const reading = readConf(text, file)
  if (!reading.ok) return { kind: 'wrong', problems: reading.problems.map(writeProblem) }
  return { kind: 'read', conf: reading.conf, notes: reading.notes.map(writeProblem) }
}

export interface StatePlan {
  readonly layout: Layout
  /** The layout the state directory has now, where there is one that can be read. */
  readonly before: Layout | undefined
  /** No cluster has ever lived here. */
  readonly isNew: boolean
}

/**
 * What `writeState` would do; makes the directory, the certificate and the cluster's key, and nothing else. Rejects where they cannot be
 * written. `inForce`: the layout of the cluster that runs, which may be newer than the file. The caller holds the state's lock, here and
 * below.
 */
export async function planState(context: Context, conf: Conf, inForce?: Layout): Promise<StatePlan> {
  const { state, world } = context
  const { disk } = world
  await disk.makeDirectory(state)
  await ensureClusterKey(disk, state)
  const known = await knownLayouts(disk, state)
  const { why, file, highestEpoch } = known
  if (why !== undefined) context.complain(`${state}/${layoutFileName} cannot be used and is made again: ${why}`)
  const basis = inForce === undefined ? known : withInForce(known, inForce)
  const { layout, notes } = await nextLayout(context, conf, basis)
  for (const note of notes) context.complain(`note: ${note}`)
  return { layout, before: inForce ?? file, isNew: file === undefined && why === undefined && highestEpoch === 0 }
}

function withInForce(known: KnownLayouts, inForce: Layout): KnownLayouts {
  const highestEpoch = Math.max(known.highestEpoch, inForce.epoch)
  return { ...known, file: inForce, newest: inForce, highestEpoch }
}

/** The layout, every home, its control files. */
export async function writeState(context: Context, plan: StatePlan): Promise<void> {
  const { state, world } = context
  const { disk } = world
  const { layout, before } = plan
  if (layout !== before) await writeLayoutFile(disk, state, layout)
  await warnOfStranded(context, layout)
  for (const place of placesOf(layout)) {
    await disk.makeDirectory(`${state}/${place.home}/control`)
    await keepLayoutKeys(disk, state, `${state}/${place.home}`)
    const known = before !== undefined && placesOf(before).some(({ id }) => id === place.id)
    const earlier = known ? [...controlFiles(before, place.id).keys()] : []
    await writeControl(disk, `${state}/${place.home}`, earlier, controlFiles(layout, place.id))
  }
}

/** Mail in the home of an instance that the layout no longer has waits there for somebody to notice. */
const sealFileName = 'seal.json'

async function warnOfStranded(context: Context, layout: Layout): Promise<void> {
  const directory = `${context.state}/instances`
  const ids = fs.existsSync(directory) ? await context.world.disk.list(directory) : []
  for (const id of ids.filter((name) => !layout.instances.some((instance) => instance.id === name))) {
    // One that left by a plan wrote its seal last: nothing waits there.
    if (!fs.existsSync(`${directory}/${id}/journal`) || fs.existsSync(`${directory}/${id}/${sealFileName}`)) continue
    context.complain(`instance ${id} is not in the layout any more: mail still in ${directory}/${id} waits until it is`)
  }
}

function placesOf(layout: Layout): readonly { readonly id: string; readonly home: string }[] {
  return [...layout.edges, ...layout.instances]
}

async function writeControl(disk: Disk, home: string, earlier: readonly string[], wanted: ControlFiles): Promise<void> {
  const existing = new Map<string, string>()
  for (const file of new Set([...earlier, ...wanted.keys()])) {
    const bytes = await readFileIfThere(disk, `${home}/${file}`)
    if (bytes !== undefined) existing.set(file, bytes.toString('utf8'))
  }
  const difference = diffControl(existing, wanted)
  for (const [file, text] of difference.write) await writeFileDurably(disk, `${home}/${file}`, [Buffer.from(text)])
  for (const file of difference.remove) await removeIfThere(disk, `${home}/${file}`)
}
