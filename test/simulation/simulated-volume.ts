/**
 * One file system's truth in two layers: what processes see (the page cache) and what a power cut leaves.
 *
 * File bytes and directory entries are kept apart, as POSIX keeps them: a file's bytes and size become durable by
 * `datasync`, a name by `syncDirectory` of the directory that holds it. A power cut keeps the durable layer and, by the
 * seed, any part of the rest: single sectors of a write, some of the sizes a file had, a prefix or a subset of the name
 * changes. Everything here is synchronous; `simulated-disk.ts` adds latency, faults and processes.
 */

import type { SeededRandom } from './seeded-random.ts'
import { SparseBytes, sectorBytes } from './sparse-bytes.ts'
import { systemError } from './system-error.ts'

export interface FileNode {
  readonly kind: 'file'
  readonly cached: SparseBytes
  durable: SparseBytes
  /** What `durable` lacks, in order. */
  unsynced: Unsynced[]
  /** Changes ever made: a datasync covers those made before it was called. */
  changes: number
}

type Unsynced =
  | { readonly kind: 'write'; readonly change: number; readonly position: number; readonly bytes: Buffer }
  | { readonly kind: 'size'; readonly change: number; readonly size: number }

export interface DirectoryNode {
  readonly kind: 'directory'
  readonly names: Map<string, Node>
  durable: Map<string, Node>
}

export type Node = FileNode | DirectoryNode

/** One call's changes to names; at a power cut they stay or go together, unless a part was synced before. */
interface NameChange {
  parts: { readonly directory: DirectoryNode; readonly name: string; readonly node: Node | undefined }[]
}

export class SimulatedVolume {
  #root: DirectoryNode = newDirectory()
  #unsynced: NameChange[] = []

  // ---- names

  lookup(path: string): Node {
    let node: Node = this.#root
    for (const name of partsOf(path)) {
      if (node.kind !== 'directory') throw systemError('ENOTDIR', path)
      const next: Node | undefined = node.names.get(name)
      if (next === undefined) throw systemError('ENOENT', path)
      node = next
    }
    return node
  }

  file(path: string): FileNode {
    const node = this.lookup(path)
    if (node.kind !== 'file') throw systemError('EISDIR', path)
    return node
  }

  directory(path: string): DirectoryNode {
    const node = this.lookup(path)
    if (node.kind !== 'directory') throw systemError('ENOTDIR', path)
    return node
  }

  create(path: string): FileNode {
    const { directory, name } = this.#parent(path)
    if (directory.names.has(name)) throw systemError('EEXIST', path)
    const file: FileNode = newFile()
    this.#change([{ directory, name, node: file }])
    return file
  }

  makeDirectory(path: string): void {
    let directory = this.#root
    for (const name of partsOf(path)) {
      const present = directory.names.get(name)
      if (present?.kind === 'file') throw systemError('EEXIST', path)
      const next = present ?? newDirectory()
      if (present === undefined) this.#change([{ directory, name, node: next }])
      directory = next
    }
  }

  rename(from: string, to: string): void {
    const node = this.lookup(from)
    const source = this.#parent(from)
    const target = this.#parent(to)
    if (target.directory.names.get(target.name)?.kind === 'directory') throw systemError('EISDIR', to)
    if (target.directory.names.get(target.name) === node) return
    this.#change([
      { ...source, node: undefined },
      { ...target, node },
    ])
  }

  link(from: string, to: string): void {
    const node = this.file(from)
    const target = this.#parent(to)
    if (target.directory.names.has(target.name)) throw systemError('EEXIST', to)
    this.#change([{ ...target, node }])
  }

  unlink(path: string): void {
    if (this.lookup(path).kind === 'directory') throw systemError('EISDIR', path)
    this.#change([{ ...this.#parent(path), node: undefined }])
  }

  syncDirectory(path: string): void {
    const directory = this.directory(path)
    for (const change of this.#unsynced) {
      for (const part of change.parts) if (part.directory === directory) applyName(directory.durable, part)
      change.parts = change.parts.filter((part) => part.directory !== directory)
    }
    this.#unsynced = this.#unsynced.filter((change) => change.parts.length > 0)
  }

  // ---- bytes

  write(file: FileNode, bytes: Buffer, position: number): void {
    file.cached.write(bytes, position)
    file.unsynced.push({ kind: 'write', change: file.changes++, position, bytes })
  }

  truncate(file: FileNode, size: number): void {
    file.cached.resize(size)
    file.unsynced.push({ kind: 'size', change: file.changes++, size })
  }

  /** Makes the changes before number `before` durable: those that were there when the call began. */
  datasync(file: FileNode, before: number): void {
    for (const change of file.unsynced) if (change.change < before) applyBytes(file.durable, change)
    file.unsynced = file.unsynced.filter((change) => change.change >= before)
  }

  /**
   * A failed datasync, as Linux leaves it: the pages count as clean though they never reached the disk, so that the next
   * datasync succeeds without them. `evict`: they have left the cache too, and the file reads as the disk has it.
   */
  loseUnsynced(file: FileNode, evict: boolean): void {
    file.unsynced = []
    if (evict) file.cached.become(file.durable)
  }

  // ---- power

  /** Leaves what the disk has; everything else survives or not by `random`. */
  cutPower(random: SeededRandom): void {
    surviveNames(this.#unsynced, random)
    this.#unsynced = []
    const seen = new Set<Node>()
    restore(this.#root, random, seen)
  }

  /** Makes everything durable: for what a scenario sets up before it begins. */
  syncAll(): void {
    for (const change of this.#unsynced) for (const part of change.parts) applyName(part.directory.durable, part)
    this.#unsynced = []
    const visit = (node: Node): void => {
      if (node.kind === 'file') this.datasync(node, node.changes)
      else for (const child of node.names.values()) visit(child)
    }
    visit(this.#root)
  }

  #parent(path: string): { directory: DirectoryNode; name: string } {
    const parts = partsOf(path)
    const name = parts.pop()
    if (name === undefined) throw systemError('EINVAL', path)
    return { directory: this.directory(parts.join('/')), name }
  }

  #change(parts: NameChange['parts']): void {
    for (const part of parts) applyName(part.directory.names, part)
    this.#unsynced.push({ parts })
  }
}

function newFile(): FileNode {
  return { kind: 'file', cached: new SparseBytes(), durable: new SparseBytes(), unsynced: [], changes: 0 }
}

function newDirectory(): DirectoryNode {
  return { kind: 'directory', names: new Map(), durable: new Map() }
}

function partsOf(path: string): string[] {
  const parts: string[] = []
  for (const part of path.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '' && part !== '.') parts.push(part)
  }
  return parts
}

function applyName(names: Map<string, Node>, part: { name: string; node: Node | undefined }): void {
  if (part.node === undefined) names.delete(part.name)
  else names.set(part.name, part.node)
}

function applyBytes(bytes: SparseBytes, change: Unsynced): void {
  if (change.kind === 'write') bytes.write(change.bytes, change.position)
  else bytes.resize(change.size)
}

/** Journalling file systems keep a prefix of the changes; others keep any of them. */
function surviveNames(changes: readonly NameChange[], random: SeededRandom): void {
  const isPrefix = random.chance(0.5)
  const kept = random.below(changes.length + 1)
  const probability = random.fraction()
  changes.forEach((change, index) => {
    if (isPrefix ? index >= kept : !random.chance(probability)) return
    for (const part of change.parts) applyName(part.directory.durable, part)
  })
}

function restore(node: Node, random: SeededRandom, seen: Set<Node>): void {
  if (seen.has(node)) return
  seen.add(node)
  if (node.kind === 'file') {
    surviveBytes(node, random)
    node.unsynced = []
    node.cached.become(node.durable)
    return
  }
  node.names.clear()
  for (const [name, child] of node.durable) {
    node.names.set(name, child)
    restore(child, random, seen)
  }
}

/** Any sectors of any unsynced write may have reached the disk, and any of the sizes the file had. */
function surviveBytes(file: FileNode, random: SeededRandom): void {
  if (file.unsynced.length === 0) return
  const probability = random.pick([0, 0, 0.5, 0.9, 1, random.fraction()])
  const sizes = [file.durable.size]
  let size = file.durable.size
  const durable = file.durable
  for (const change of file.unsynced) {
    if (change.kind === 'size') {
      size = change.size
      if (probability > 0 && random.chance(probability)) durable.resize(size)
    } else {
      size = Math.max(size, change.position + change.bytes.length)
      writeSomeSectors(durable, change, probability, random)
    }
    sizes.push(size)
  }
  if (probability === 1) durable.resize(size)
  else if (random.chance(0.5)) durable.resize(random.pick(sizes))
}

function writeSomeSectors(
  durable: SparseBytes,
  change: { position: number; bytes: Buffer },
  probability: number,
  random: SeededRandom,
): void {
  const end = change.position + change.bytes.length
  for (let from = change.position; from < end; ) {
    const to = Math.min(end, (Math.floor(from / sectorBytes) + 1) * sectorBytes)
    if (probability > 0 && random.chance(probability)) {
      durable.write(change.bytes.subarray(from - change.position, to - change.position), from)
    }
    from = to
  }
}
