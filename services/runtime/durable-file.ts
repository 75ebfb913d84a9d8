/**
 * Replacing a small file so that a crash leaves the old one or the new one, whole: write beside it, datasync, rename, sync
 * the directory. In that order; each step is one a power cut at the wrong moment would otherwise undo. A failure names the file
 * and keeps the system's code: the system's own words for a full disk name nothing.
 */

import { errorCode, errorText } from '../protocol/failure.ts'
import type { Disk } from './world.ts'

export async function writeFileDurably(disk: Disk, path: string, chunks: readonly Buffer[]): Promise<void> {
  try {
    await replaceFile(disk, path, chunks)
  } catch (error) {
    const named = new Error(`${path} cannot be written: ${errorText(error)}`, { cause: error })
    throw Object.assign(named, { code: errorCode(error) })
  }
}

async function replaceFile(disk: Disk, path: string, chunks: readonly Buffer[]): Promise<void> {
  const temporary = `${path}.new`
  await removeIfThere(disk, temporary)
  const file = await disk.open(temporary, 'create')
  try {
    await file.write(chunks, 0)
    await file.datasync()
  } finally {
    await file.close()
  }
  await disk.rename(temporary, path)
  await disk.syncDirectory(path.slice(0, path.lastIndexOf('/')))
}

/**
 * Makes a directory whose name survives a power cut: its parents up to `levels` above it are synced, because any of them may be
 * new as well. Parents that may not be read are somebody else's, and old.
 */
export async function makeDirectoryDurably(disk: Disk, path: string, levels = 4): Promise<void> {
  await disk.makeDirectory(path)
  let parent = path
  for (let level = 0; level < levels; level++) {
    parent = parent.slice(0, parent.lastIndexOf('/'))
    if (parent === '') return
    try {
      await disk.syncDirectory(parent)
    } catch (error) {
      if (errorCode(error) === 'EACCES' || errorCode(error) === 'EPERM') return
      throw error
    }
  }
}

export async function removeIfThere(disk: Disk, path: string): Promise<void> {
  try {
    await disk.unlink(path)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
  }
}

/** Undefined where there is no such file; any other trouble rejects. */
export async function readFileIfThere(disk: Disk, path: string): Promise<Buffer | undefined> {
  try {
    return await disk.readFile(path)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}
