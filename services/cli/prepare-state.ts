/**
 * From conf-qmq to a state directory the tiers can start from: the layout with its epoch, every home with its control
 * files, the certificate. First a plan, so that nothing is written that cannot be carried out. Idempotent; removes only control
 * files that an earlier layout put there.
 */

import fs from 'node:fs'
import type { Layout } from '../contract/layout.ts'
import { compile } from '../control/layout/compile.ts'
import { diffControl } from '../control/layout/control-difference.ts'
import { type ControlFiles, controlFiles } from '../control/layout/control-files.ts'
import { readFileIfThere, removeIfThere, writeFileDurably } from '../runtime/durable-file.ts'
import { ensureClusterKey } from '../runtime/signature.ts'
import { keepLayoutKeys } from '../runtime/signed-layout.ts'
import { claimedEpoch, layoutAbsent, layoutFileName, readLayoutFile, writeLayoutFile } from '../runtime/tier-layout.ts'
import type { Disk } from '../runtime/world.ts'
import type { Conf } from '../settings/conf.ts'
import { writeProblem } from '../settings/conf-problem.ts'
import { readConf } from '../settings/conf-qmq.ts'
import { ensureSelfSigned } from './self-signed.ts'
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
 * What `writeState` would do; makes the directory, the certificate and the cluster's key, and nothing else. Rejects where they cannot be written.
 * The caller holds the state's lock, here and below.
 */
export async function planState(context: Context, conf: Conf): Promise<StatePlan> {
  const { state, world } = context
  const { disk } = world
  await disk.makeDirectory(state)
  await ensureClusterKey(disk, state)
  const file = `${state}/${layoutFileName}`
  const read = await readLayoutFile(disk, file)
  const before = typeof read === 'string' ? undefined : read
  if (typeof read === 'string' && read !== layoutAbsent)
    context.complain(`${file} cannot be used and is made again: ${read}`)
  const epoch = await highestEpoch(disk, state)
  const layout = await nextLayout(context, conf, before, epoch)
  return { layout, before, isNew: read === layoutAbsent && epoch === 0 }
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

/**
 * The highest epoch any file here claims. Instances keep copies of their own and refuse an older layout, so that a state whose
 * layout.json was lost or put back from a copy must go on counting from there.
 */
async function highestEpoch(disk: Disk, state: string): Promise<number> {
  const files = [`${state}/${layoutFileName}`]
  for (const tier of ['edges', 'instances']) {
    const names = fs.existsSync(`${state}/${tier}`) ? await disk.list(`${state}/${tier}`) : []
    files.push(...names.map((name) => `${state}/${tier}/${name}/${layoutFileName}`))
  }
  const epochs = await Promise.all(files.map((file) => claimedEpoch(disk, file)))
  return Math.max(...epochs)
}

/** Mail in the home of an instance that the layout no longer has waits there for somebody to notice. */
async function warnOfStranded(context: Context, layout: Layout): Promise<void> {
  const directory = `${context.state}/instances`
  const ids = fs.existsSync(directory) ? await context.world.disk.list(directory) : []
  for (const id of ids.filter((name) => !layout.instances.some((instance) => instance.id === name))) {
    if (!fs.existsSync(`${directory}/${id}/journal`)) continue
    context.complain(`instance ${id} is not in the layout any more: mail still in ${directory}/${id} waits until it is`)
  }
}

/** The old layout itself where nothing changed, else the compiled one under the next epoch after `highest`. */
async function nextLayout(context: Context, conf: Conf, old: Layout | undefined, highest: number): Promise<Layout> {
  const tls = conf.edge.tls ?? (await certificateOf(context, conf))
  const complete = (epoch: number): Layout => {
    const layout = compile(conf, epoch)
    return tls === undefined ? layout : { ...layout, edges: layout.edges.map((edge) => ({ ...edge, tls })) }
  }
  if (old !== undefined && old.epoch === highest && sameJson(complete(old.epoch), old)) return old
  return complete(highest + 1)
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
