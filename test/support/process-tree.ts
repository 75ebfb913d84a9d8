/**
 * What a process and its descendants have used, from /proc: Linux only.
 *
 * A daemon's children come and go. The kernel adds what an ended child used to its parent once the parent has waited for
 * it, so the sum over the living, each with its ended children, is complete.
 */

import { readdirSync, readFileSync } from 'node:fs'

export interface Usage {
  /** User and system time, milliseconds (ticks of 10 ms). */
  readonly cpuMs: number
  /** Bytes the processes caused to be written to the disk. */
  readonly writtenBytes: number
}

export interface ProcessEntry {
  readonly pid: number
  readonly parent: number
  readonly command: string
  readonly ticks: number
}

const tickMs = 10

/** Every process now alive. */
export function listProcesses(): ProcessEntry[] {
  const entries: ProcessEntry[] = []
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const text = readOrEmpty(`/proc/${name}/stat`)
    // The command stands in parentheses and may itself contain any character.
    const close = text.lastIndexOf(')')
    if (close < 0) continue
    const fields = text.slice(close + 2).split(' ')
    if (fields[0] === 'Z') continue
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
    const command = readOrEmpty(`/proc/${name}/cmdline`).replaceAll('\0', ' ').trim()
    entries.push({ pid: Number(name), parent: Number(fields[1]), command, ticks })
  }
  return entries
}

/** The kernel's letter for what a process does (`T` is stopped, `Z` ended and not waited for); '' when it has gone. */
export function processState(pid: number): string {
  const text = readOrEmpty(`/proc/${pid}/stat`)
  const close = text.lastIndexOf(')')
  return close < 0 ? '' : text.charAt(close + 2)
}

/** `root` and all its descendants. */
export function processTree(root: number): ProcessEntry[] {
  const all = listProcesses()
  const tree = all.filter((entry) => entry.pid === root)
  for (let index = 0; index < tree.length; index++) {
    tree.push(...all.filter((entry) => entry.parent === (tree[index] as ProcessEntry).pid))
  }
  return tree
}

export function usageOf(root: number): Usage {
  let ticks = 0
  let writtenBytes = 0
  for (const entry of processTree(root)) {
    ticks += entry.ticks
    writtenBytes += numberAfter(readOrEmpty(`/proc/${entry.pid}/io`), 'write_bytes: ')
  }
  return { cpuMs: ticks * tickMs, writtenBytes }
}

export function usageBetween(before: Usage, after: Usage): Usage {
  return { cpuMs: after.cpuMs - before.cpuMs, writtenBytes: after.writtenBytes - before.writtenBytes }
}

/** Memory of the tree, bytes; pages shared between processes are counted once (proportional set size). */
export function memoryOf(root: number): number {
  let kilobytes = 0
  for (const entry of processTree(root)) {
    kilobytes += numberAfter(readOrEmpty(`/proc/${entry.pid}/smaps_rollup`), 'Pss:')
  }
  return kilobytes * 1024
}

function numberAfter(text: string, label: string): number {
  const at = text.indexOf(label)
  return at < 0 ? 0 : Number.parseInt(text.slice(at + label.length).trimStart(), 10)
}

/** '' for a process that has gone meanwhile. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
