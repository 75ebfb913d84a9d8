/**
 * The import statements of a file, by pattern over formatted code, and what they point at.
 */

import { posix } from 'node:path'
import type { SourceFile } from './source-files.ts'

export interface Import {
  readonly from: string
  readonly target: string
  /** Gone when types are stripped: it cannot make a cycle at run time. */
  readonly typeOnly: boolean
}

const statement = /^(?:import|export)\s+(type\s+)?(?:[\w*{}\s,$]+?\s+from\s+)?'([^']+)'/gm
const call = /\bimport\('([^']+)'\)/g

export function importsOf(file: SourceFile): Import[] {
  const found: Import[] = []
  for (const match of file.text.matchAll(statement)) {
    found.push({ from: file.path, target: resolve(file.path, match[2] ?? ''), typeOnly: match[1] !== undefined })
  }
  for (const match of file.text.matchAll(call)) {
    found.push({ from: file.path, target: resolve(file.path, match[1] ?? ''), typeOnly: false })
  }
  return found
}

/** Relative specifiers become repository paths; packages and `node:` modules stay. */
function resolve(from: string, specifier: string): string {
  return specifier.startsWith('.') ? posix.join(posix.dirname(from), specifier) : specifier
}

/** Every cycle found, as the path that closes it. */
export function cyclesOf(imports: readonly Import[]): string[][] {
  const targets = new Map<string, string[]>()
  for (const one of imports) {
    if (!one.typeOnly) targets.set(one.from, [...(targets.get(one.from) ?? []), one.target])
  }
  const done = new Set<string>()
  const cycles: string[][] = []
  const visit = (file: string, trail: readonly string[]): void => {
    const seenAt = trail.indexOf(file)
    if (seenAt >= 0) cycles.push([...trail.slice(seenAt), file])
    if (seenAt >= 0 || done.has(file)) return
    for (const target of targets.get(file) ?? []) visit(target, [...trail, file])
    done.add(file)
  }
  for (const file of targets.keys()) visit(file, [])
  return cycles
}
