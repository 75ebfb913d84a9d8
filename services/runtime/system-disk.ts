/**
 * Files by the system's calls, through the thread pool. Callback calls wrapped by hand: a FileHandle costs several times as
 * much, and the journal makes two calls for every batch.
 */

import fs from 'node:fs'
import type { Disk, DiskFile } from './world.ts'

export class SystemDisk implements Disk {
  open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
    const flags = mode === 'read' ? 'r' : mode === 'write' ? 'r+' : 'wx+'
    return new Promise((resolve, reject) => {
      fs.open(path, flags, 0o600, (error, descriptor) => {
        if (error === null) resolve(new SystemFile(descriptor, path))
        else reject(error)
      })
    })
  }

  readFile(path: string): Promise<Buffer> {
    return fs.promises.readFile(path)
  }

  async list(directory: string): Promise<string[]> {
    return (await fs.promises.readdir(directory)).sort()
  }

  async makeDirectory(path: string): Promise<void> {
    await fs.promises.mkdir(path, { recursive: true, mode: 0o700 })
  }

  rename(from: string, to: string): Promise<void> {
    return fs.promises.rename(from, to)
  }

  link(from: string, to: string): Promise<void> {
    return fs.promises.link(from, to)
  }

  unlink(path: string): Promise<void> {
    return fs.promises.unlink(path)
  }

  async syncDirectory(directory: string): Promise<void> {
    const handle = await fs.promises.open(directory, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  async freeBytes(directory: string): Promise<number> {
    const stats = await fs.promises.statfs(directory)
    return stats.bavail * stats.bsize
  }
}

type Done = (error: Error | null) => void

/** Linux and FreeBSD have it; elsewhere a write and a sync do the same. */
const { O_DSYNC: dataSync, O_WRONLY: writeOnly } = fs.constants

class SystemFile implements DiskFile {
  readonly #descriptor: number
  readonly #path: string
  /** The same file with O_DSYNC: a write returns when it is durable, for one call and one thread hop instead of two. */
  #durable: Promise<number> | undefined

  constructor(descriptor: number, path: string) {
    this.#descriptor = descriptor
    this.#path = path
  }

  async writeDurably(chunks: readonly Buffer[], position: number): Promise<void> {
    if (dataSync === undefined) {
      await this.write(chunks, position)
      return this.datasync()
    }
    this.#durable ??= openAgain(this.#path, writeOnly | dataSync)
    const descriptor = await this.#durable.catch((error: unknown) => {
      this.#durable = undefined
      throw error
    })
    return settled((done) => writeAll(descriptor, chunks, position, done))
  }

  write(chunks: readonly Buffer[], position: number): Promise<void> {
    return settled((done) => writeAll(this.#descriptor, chunks, position, done))
  }

  async read(buffer: Buffer, position: number): Promise<number> {
    let filled = 0
    while (filled < buffer.length) {
      const count = await readOnce(this.#descriptor, buffer, filled, position + filled)
      if (count === 0) break
      filled += count
    }
    return filled
  }

  datasync(): Promise<void> {
    return settled((done) => fs.fdatasync(this.#descriptor, done))
  }

  truncate(bytes: number): Promise<void> {
    return settled((done) => fs.ftruncate(this.#descriptor, bytes, done))
  }

  size(): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.fstat(this.#descriptor, (error, stats) => (error === null ? resolve(stats.size) : reject(error)))
    })
  }

  async close(): Promise<void> {
    const durable = await this.#durable
    if (durable !== undefined) await settled((done) => fs.close(durable, done))
    return settled((done) => fs.close(this.#descriptor, done))
  }
}

function openAgain(path: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(path, flags, (error, descriptor) => (error === null ? resolve(descriptor) : reject(error)))
  })
}

function settled(call: (done: Done) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    call((error) => (error === null ? resolve() : reject(error)))
  })
}

function writeAll(descriptor: number, chunks: readonly Buffer[], position: number, done: Done): void {
  let total = 0
  for (const chunk of chunks) total += chunk.length
  fs.writev(descriptor, chunks, position, (error, written) => {
    if (error !== null) done(error)
    else if (written === total) done(null)
    else if (written === 0) done(Object.assign(new Error('the disk took no bytes'), { code: 'EIO' }))
    else writeAll(descriptor, without(chunks, written), position + written, done)
  })
}

/** What is left of `chunks` after their first `count` bytes: a short write on a full disk or past a size limit. */
function without(chunks: readonly Buffer[], count: number): readonly Buffer[] {
  let skip = count
  const rest: Buffer[] = []
  for (const chunk of chunks) {
    if (skip >= chunk.length) skip -= chunk.length
    else {
      rest.push(chunk.subarray(skip))
      skip = 0
    }
  }
  return rest
}

function readOnce(descriptor: number, buffer: Buffer, offset: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.read(descriptor, buffer, offset, buffer.length - offset, position, (error, count) =>
      error === null ? resolve(count) : reject(error),
    )
  })
}
