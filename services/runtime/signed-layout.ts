/**
 * The layout as a record that is believed: signed by the cluster's key, verified before anything else is made of it.
 *
 * Whoever can write to the store can put anything there, and a store may come back from a copy of last week. So a tier takes a
 * layout only if one of its keys signed it, it can be read whole, it is of this cluster, its epoch is higher and its fence is not
 * lower than those in force; whatever else it finds changes nothing. Two keys are accepted side by side while the cluster goes
 * from one to the next: `keys/cluster.pub` and `keys/cluster-previous.pub`, in the state directory, or, on a host that has none
 * there, in the home, where each tier keeps copies. They are read again for each record: a new key needs no restart.
 */

import { isDeepStrictEqual } from 'node:util'
import type { Json } from '../contract/coordination.ts'
import type { Layout } from '../contract/layout.ts'
import { errorText } from '../protocol/failure.ts'
import { type LayoutReading, readLayout } from '../settings/layout-record.ts'
import { makeDirectoryDurably, readFileIfThere, removeIfThere, writeFileDurably } from './durable-file.ts'
import { publicKeyFileName, type Signer, type Verifier, verifierOf } from './signature.ts'
import type { Disk } from './world.ts'

const previousKeyFileName = 'keys/cluster-previous.pub'
const keyFileNames = [publicKeyFileName, previousKeyFileName] as const

/**
 * `unsigned` and `damaged`: no process of ours wrote it so. `stranger`: signed by a key that is not ours, or not yet. `form`: another
 * version, or nothing this program can read. `cluster`: another one's. `older`, `deposed`: ours, but overtaken. `rival`: ours, of the
 * epoch in force, and yet different.
 */
export type LayoutFault = 'unsigned' | 'damaged' | 'stranger' | 'form' | 'cluster' | 'older' | 'deposed' | 'rival'

export type LayoutJudgement =
  | { readonly kind: 'newer'; readonly layout: Layout }
  /** The one in force. */
  | { readonly kind: 'same' }
  | { readonly kind: 'refused'; readonly fault: LayoutFault; readonly why: string }

export function signLayout(signer: Signer, layout: Layout): Json {
  return JSON.parse(signer.sign(JSON.stringify(layout))) as Json
}

/** Never throws, whatever it is given. */
export function judgeLayout(value: Json, inForce: Layout, keys: readonly Verifier[]): LayoutJudgement {
  const opened = openRecord(value, keys)
  if (opened.kind === 'refused') return opened
  const reading = readLayout(opened.json)
  if (!reading.ok) return refused('form', reading.why)
  const { layout } = reading
  if (layout.cluster !== inForce.cluster) {
    return refused('cluster', `it is of the cluster ${layout.cluster}, this is ${inForce.cluster}`)
  }
  if (layout.epoch < inForce.epoch) {
    return refused('older', `epoch ${layout.epoch} is older than ${inForce.epoch}, which is in force`)
  }
  if (layout.epoch === inForce.epoch) {
    if (isDeepStrictEqual(layout, inForce)) return { kind: 'same' }
    return refused('rival', `it differs from the layout in force, and has the same epoch ${layout.epoch}`)
  }
  if (layout.fence < inForce.fence) {
    const why = `epoch ${layout.epoch} has the fencing number ${layout.fence}, lower than ${inForce.fence}: its writer led no more`
    return refused('deposed', why)
  }
  return { kind: 'newer', layout }
}

/** The layout of a record, whatever is in force. Never throws, whatever it is given. */
export function openLayout(value: Json, keys: readonly Verifier[]): LayoutReading {
  const opened = openRecord(value, keys)
  return opened.kind === 'refused' ? { ok: false, why: opened.why } : readLayout(opened.json)
}

type Opened = { readonly kind: 'opened'; readonly json: unknown } | (LayoutJudgement & { readonly kind: 'refused' })

function openRecord(value: Json, keys: readonly Verifier[]): Opened {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !('signature' in value)) {
    return refused('unsigned', 'it is not signed')
  }
  if (keys.length === 0) return refused('stranger', `there is no ${publicKeyFileName} here to verify it with`)
  const { signer } = value as { readonly signer?: unknown }
  const key = keys.find((one) => one.signer === signer)
  if (key === undefined) return refused('stranger', `it is signed by the key ${named(signer)}, which is none of ours`)
  const verified = key.verify(JSON.stringify(value))
  if (!verified.ok) return refused('damaged', verified.why)
  try {
    return { kind: 'opened', json: JSON.parse(verified.document) }
  } catch {
    return refused('form', 'what is signed is no layout')
  }
}

function refused(fault: LayoutFault, why: string): LayoutJudgement & { readonly kind: 'refused' } {
  return { kind: 'refused', fault, why }
}

function named(signer: unknown): string {
  return typeof signer === 'string' ? signer.slice(0, 32).replace(/[^\x20-\x7e]/g, '?') : 'of no name'
}

/** The keys in force for a place: those of the state directory, else the copies in its home. Damaged ones are passed over, and told. */
export async function layoutKeys(
  disk: Disk,
  state: string,
  home: string,
  complain: (why: string) => void,
): Promise<readonly Verifier[]> {
  for (const directory of [state, home]) {
    const texts = await keyTexts(disk, directory)
    if (texts.size === 0) continue
    return [...texts].flatMap(([name, text]) => {
      try {
        return [verifierOf(text.toString('utf8'), `${directory}/${name}`)]
      } catch (error) {
        complain(errorText(error))
        return []
      }
    })
  }
  return []
}

/** Copies the state directory's keys into a home, for the day when it is all there is. Writes only what differs. Rejects. */
export async function keepLayoutKeys(disk: Disk, state: string, home: string): Promise<void> {
  const wanted = await keyTexts(disk, state)
  if (wanted.size === 0) return
  const present = await keyTexts(disk, home)
  if (keyFileNames.every((name) => sameText(wanted.get(name), present.get(name)))) return
  await makeDirectoryDurably(disk, `${home}/keys`, 1)
  for (const name of keyFileNames) {
    const text = wanted.get(name)
    if (text === undefined) await removeIfThere(disk, `${home}/${name}`)
    else if (!sameText(text, present.get(name))) await writeFileDurably(disk, `${home}/${name}`, [text])
  }
}

async function keyTexts(disk: Disk, directory: string): Promise<Map<string, Buffer>> {
  const texts = new Map<string, Buffer>()
  for (const name of keyFileNames) {
    const text = await readFileIfThere(disk, `${directory}/${name}`)
    if (text !== undefined) texts.set(name, text)
  }
  return texts
}

function sameText(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one === undefined || other === undefined ? one === other : one.equals(other)
}
