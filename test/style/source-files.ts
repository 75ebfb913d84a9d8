/**
 * The files of this repository as the style tests see them: TypeScript of services and tests, and everything a person reads.
 *
 * A check that looks at nothing passes, so each test asks for a folder by name and this file throws when it finds none.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

export interface SourceFile {
  /** From the root of the repository, with `/`: `services/protocol/netstring.ts`. */
  readonly path: string
  readonly text: string
}

export const root = new URL('../../', import.meta.url).pathname

const notOurs = new Set(['node_modules', '.git', '.bench', 'state'])

/** Every file below `folder`, sorted; throws where there is none. */
export function filesBelow(folder: string, matches: (path: string) => boolean = () => true): SourceFile[] {
  const paths = listBelow(folder).filter(matches)
  if (paths.length === 0) throw new Error(`no files found below ${folder}: the check would see nothing`)
  return paths.sort().map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))
}

export function sourcesBelow(folder: string): SourceFile[] {
  return filesBelow(folder, (path) => path.endsWith('.ts') || path.endsWith('.js'))
}

export function readRepositoryFile(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

function listBelow(folder: string): string[] {
  const found: string[] = []
  for (const name of readdirSync(join(root, folder))) {
    if (notOurs.has(name)) continue
    const path = folder === '.' ? name : `${folder}/${name}`
    if (statSync(join(root, path)).isDirectory()) found.push(...listBelow(path))
    else found.push(path)
  }
  return found
}

/** Code with comments and the content of strings blanked out, line structure kept: good enough for word searches. */
export function withoutCommentsAndStrings(text: string): string {
  const blank = (match: string): string => match.replace(/[^\n]/g, ' ')
  return text
    .replace(/\/\*[\s\S]*?\*\//g, blank)
    .replace(/'(?:[^'\\\n]|\\.)*'/g, blank)
    .replace(/(^|\s)\/\/[^\n]*/g, blank)
}
