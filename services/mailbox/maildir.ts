/**
 * One Maildir: made, and written to, so that a message is there whole and durable or not at all (qmail's maildir).
 *
 * The file is written under a unique name in `tmp`, made durable, moved to `new`, and the move made durable; only
 * then is it delivered. A failure on the way removes the file again, as far as that is possible; readers clean old
 * files of `tmp`.
 */

import type { Disk, DiskFile } from '../runtime/world.ts'

/** Makes the Maildir and the directories above it, durably. */
export async function makeMaildir(disk: Disk, root: string, directory: string): Promise<void> {
  let path = root
  for (const part of directory.split('/')) {
    path = `${path}/${part}`
    await disk.makeDirectory(path)
    await disk.syncDirectory(path.slice(0, path.lastIndexOf('/')))
  }
  for (const part of ['tmp', 'cur', 'new']) await disk.makeDirectory(`${path}/${part}`)
  await disk.syncDirectory(path)
}

/** Rejects with ENOENT where `maildir` is no Maildir, and as the disk does. */
export async function writeToMaildir(
  disk: Disk,
  maildir: string,
  name: string,
  pieces: AsyncIterable<readonly Buffer[]>,
): Promise<void> {
  const temporary = `${maildir}/tmp/${name}`
  const file = await disk.open(temporary, 'create')
  try {
    await writeAll(file, pieces)
    await disk.rename(temporary, `${maildir}/new/${name}`)
  } catch (error) {
    // The first error is the one to tell.
    await disk.unlink(temporary).catch(() => {})
    throw error
  }
  await disk.syncDirectory(`${maildir}/new`)
}

async function writeAll(file: DiskFile, pieces: AsyncIterable<readonly Buffer[]>): Promise<void> {
  try {
    let position = 0
    for await (const chunks of pieces) {
      if (chunks.length > 0) await file.write(chunks, position)
      for (const chunk of chunks) position += chunk.length
    }
    await file.datasync()
  } finally {
    await file.close()
  }
}
