/**
 * The layout a tier starts with: the newest it can verify, from the state directory or from its own home, where it keeps a
 * copy of the last one it took. Nothing else is asked at the start, so that every tier carries mail with all else gone.
 */

import type { Layout } from '../contract/layout.ts'
import { errorText } from '../protocol/failure.ts'
import { readLayout } from '../settings/layout-record.ts'
import { readFileIfThere, writeFileDurably } from './durable-file.ts'
import type { Disk } from './world.ts'

export type TierKind = 'edge' | 'queue' | 'control'

export const layoutFileName = 'layout.json'
/** What `readLayoutFile` says of a file that is not there, which is no trouble. */
export const layoutAbsent = 'is not there'

type TierLayout =
  | { readonly kind: 'found'; readonly layout: Layout; readonly home: string; readonly notes: readonly string[] }
  /** One line per file: why it does not do. */
  | { readonly kind: 'none'; readonly notes: readonly string[] }

/** `home` of the result is below `state`, which is where both files are looked for. */
export async function findLayout(disk: Disk, state: string, tier: TierKind, id: string): Promise<TierLayout> {
  const notes: string[] = []
  let newest: Layout | undefined
  for (const path of [`${state}/${layoutFileName}`, `${state}/${usualHome(tier, id)}/${layoutFileName}`]) {
    const layout = await readLayoutFile(disk, path)
    if (typeof layout === 'string') notes.push(`${path}: ${layout}`)
    else if (homeIn(layout, tier, id) === undefined) notes.push(`${path}: has no ${tier} ${id}`)
    else if (newest === undefined || layout.epoch > newest.epoch) newest = layout
  }
  const home = newest === undefined ? undefined : homeIn(newest, tier, id)
  if (newest === undefined || home === undefined) return { kind: 'none', notes }
  return { kind: 'found', layout: newest, home: `${state}/${home}`, notes }
}

/** The verified layout, or in words why there is none. Never rejects. */
export async function readLayoutFile(disk: Disk, path: string): Promise<Layout | string> {
  try {
    const bytes = await readFileIfThere(disk, path)
    if (bytes === undefined) return layoutAbsent
    const reading = readLayout(JSON.parse(bytes.toString('utf8')))
    return reading.ok ? reading.layout : reading.why
  } catch (error) {
    return errorText(error)
  }
}

export async function writeLayoutFile(disk: Disk, directory: string, layout: Layout): Promise<void> {
  await writeFileDurably(disk, `${directory}/${layoutFileName}`, [layoutBytes(layout)])
}

/** Writes only what is not there yet, so that a start on a full disk needs no room. Rejects with the file's name. */
export async function keepLayoutFile(disk: Disk, directory: string, layout: Layout): Promise<void> {
  const before = await readFileIfThere(disk, `${directory}/${layoutFileName}`).catch(() => undefined)
  if (before?.equals(layoutBytes(layout)) !== true) await writeLayoutFile(disk, directory, layout)
}

/** The epoch a file claims, whatever else is wrong with it; 0 where it claims none. Never rejects. */
export async function claimedEpoch(disk: Disk, path: string): Promise<number> {
  try {
    const { epoch }: { readonly epoch?: unknown } = JSON.parse((await disk.readFile(path)).toString('utf8'))
    return typeof epoch === 'number' && Number.isSafeInteger(epoch + 1) && epoch > 0 ? epoch : 0
  } catch {
    return 0
  }
}

function layoutBytes(layout: Layout): Buffer {
  return Buffer.from(`${JSON.stringify(layout, null, 1)}\n`)
}

/** Relative to the state directory; undefined where the layout has no such place. */
export function homeIn(layout: Layout, tier: TierKind, id: string): string | undefined {
  return placesOfTier(layout, tier).find((place) => place.id === id)?.home
}

interface LayoutPlace {
  readonly id: string
  readonly home: string
}

function placesOfTier({ edges, instances, control }: Layout, tier: TierKind): readonly LayoutPlace[] {
  if (tier === 'edge') return edges
  return tier === 'queue' ? instances : control
}

/** Below the state directory: where the homes of a tier are. */
export const tierDirectories: Readonly<Record<TierKind, string>> = {
  edge: 'edges',
  queue: 'instances',
  control: 'control',
}

function usualHome(tier: TierKind, id: string): string {
  return `${tierDirectories[tier]}/${id}`
}
