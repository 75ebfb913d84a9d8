/**
 * From conf-qmq to a state directory the tiers can start from: the layout with its epoch, every home with its control
 * files, the certificate. Idempotent; removes only control files that an earlier layout put there.
 */

import fs from 'node:fs'
import type { Layout } from '../contract/layout.ts'
import { compile } from '../control/layout/compile.ts'
import { diffControl } from '../control/layout/control-difference.ts'
import { type ControlFiles, controlFiles } from '../control/layout/control-files.ts'
import { readFileIfThere, removeIfThere, writeFileDurably } from '../runtime/durable-file.ts'
import { layoutFileName, readLayoutFile, writeLayoutFile } from '../runtime/tier-layout.ts'
import type { Disk } from '../runtime/world.ts'
import type { Conf } from '../settings/conf.ts'
import { writeProblem } from '../settings/conf-problem.ts'
import { readConf } from '../settings/conf-qmq.ts'
import { ensureSelfSigned } from './self-signed.ts'
import type { Context } from './verb.ts'

export type ConfFile =
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
  const reading = readConf(text, file)
  if (!reading.ok) return { kind: 'wrong', problems: reading.problems.map(writeProblem) }
  return { kind: 'read', conf: reading.conf, notes: reading.notes.map(writeProblem) }
}

/** Rejects where the directory cannot be written. The caller holds its lock. */
export async function prepareState(context: Context, conf: Conf): Promise<Layout> {
  const { state, world } = context
  const { disk } = world
  await disk.makeDirectory(state)
  const before = await readLayoutFile(disk, `${state}/${layoutFileName}`)
  const old = typeof before === 'string' ? undefined : before
  const layout = await nextLayout(context, conf, old)
  if (layout !== old) await writeLayoutFile(disk, state, layout)
  await warnOfStranded(context, layout)
  for (const place of placesOf(layout)) {
    await disk.makeDirectory(`${state}/${place.home}/control`)
    const earlier =
      old !== undefined && placesOf(old).some(({ id }) => id === place.id) ? controlFiles(old, place.id) : []
    await writeControl(
      disk,
      `${state}/${place.home}`,
      [...earlier].map(([file]) => file),
      controlFiles(layout, place.id),
    )
  }
  return layout
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

/** The old layout itself where nothing changed, else the compiled one under the next epoch. */
async function nextLayout(context: Context, conf: Conf, old: Layout | undefined): Promise<Layout> {
  const tls = conf.edge.tls ?? (await certificateOf(context, conf))
  const complete = (epoch: number): Layout => {
    const layout = compile(conf, epoch)
    return tls === undefined ? layout : { ...layout, edges: layout.edges.map((edge) => ({ ...edge, tls })) }
  }
  if (old !== undefined && sameJson(complete(old.epoch), old)) return old
  return complete((old?.epoch ?? 0) + 1)
}

async function certificateOf(
  context: Context,
  conf: Conf,
): Promise<{ certificateFile: string; keyFile: string } | undefined> {
  const certificate = await ensureSelfSigned(context.state, conf.cluster)
  if (certificate.kind === 'ready') {
    const { certificateFile, keyFile } = certificate
    return { certificateFile, keyFile }
  }
  context.complain(`no TLS is offered: ${certificate.why}`)
  return undefined
}

/** Equal values; the order of keys is nobody's matter. */
function sameJson(one: unknown, other: unknown): boolean {
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
