/** The path by which a Unix socket is opened: systems allow few bytes, so the shorter of two ways to say it is taken. */

import path from 'node:path'
import process from 'node:process'

/** The shortest sun_path among the systems we run on is 104 bytes with its NUL (FreeBSD). */
const socketPathBytesMax = 103

/** The absolute path or the one relative to the current directory. Throws ENAMETOOLONG where neither is short enough. */
export function shortSocketPath(file: string): string {
  const relative = path.relative(process.cwd(), file)
  const short = relative.length < file.length ? relative : file
  const bytes = Buffer.byteLength(short)
  if (bytes <= socketPathBytesMax) return short
  const text = `${file} is too long for a socket: ${bytes} bytes, at most ${socketPathBytesMax}; choose a shorter --state`
  throw Object.assign(new Error(text), { code: 'ENAMETOOLONG' })
}
