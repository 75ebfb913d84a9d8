/**
 * A disk that changes nothing once its home may belong to another host (`home-owner.ts`).
 *
 * Every change is refused with ESTALE from then on, and a durable write that ended too late is refused although it was done: its owner
 * must not be able to tell anybody of it. What remains is a process that stands still for longer than its ownership lasts between the look
 * and the system call; the new owner appends only to segments of its own, so what comes late spoils at most a file it has not made yet.
 */

import type { Disk, DiskFile } from './world.ts'

export function ownedDisk(disk: Disk, mayAct: () => boolean): Disk {
  const look = () => {
    if (!mayAct()) throw Object.assign(new Error('this home may belong to another host now'), { code: 'ESTALE' })
  }
  const guarded = async <Value>(change: () => Promise<Value>): Promise<Value> => {
    look()
    return await change()
  }
  const lasting = async (change: () => Promise<void>): Promise<void> => {
    look()
    await change()
    look()
  }
  return {
    open: async (path, mode) => {
      if (mode === 'read') return await disk.open(path, mode)
      return ownedFile(await guarded(() => disk.open(path, mode)), guarded, lasting)
    },
    readFile: (path) => disk.readFile(path),
    list: (directory) => disk.list(directory),
    makeDirectory: (path) => guarded(() => disk.makeDirectory(path)),
    rename: (from, to) => guarded(() => disk.rename(from, to)),
    link: (from, to) => guarded(() => disk.link(from, to)),
    unlink: (path) => guarded(() => disk.unlink(path)),
    syncDirectory: (directory) => lasting(() => disk.syncDirectory(directory)),
    freeBytes: (directory) => disk.freeBytes(directory),
  }
}

type Guard = <Value>(change: () => Promise<Value>) => Promise<Value>

function ownedFile(file: DiskFile, guarded: Guard, lasting: (change: () => Promise<void>) => Promise<void>): DiskFile {
  return {
    write: (chunks, position) => guarded(() => file.write(chunks, position)),
    writeDurably: (chunks, position) => lasting(() => file.writeDurably(chunks, position)),
    read: (buffer, position) => file.read(buffer, position),
    datasync: () => lasting(() => file.datasync()),
    truncate: (bytes) => guarded(() => file.truncate(bytes)),
    size: () => file.size(),
    close: () => file.close(),
  }
}
