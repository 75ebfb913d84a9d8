/**
 * The floor: the least a Node process can do and still keep the promise. It cuts QMTP packages from the stream, appends
 * them to one file, makes whatever has gathered durable with one fdatasync, and answers K to each.
 *
 * No routes, no limits, no index, no recovery: a yardstick, not a server. Run as `node floor-receiver.ts FILE`; prints its
 * port. What it reads it trusts.
 */

import { fdatasync, openSync, writev } from 'node:fs'
import { createServer, type Socket } from 'node:net'

const reply = '5:Kkept,'
const colon = 0x3a

/** Netstrings of one package: message, sender, recipients. */
const partsPerPackage = 3

class PackageCutter {
  readonly #complete: (parts: Buffer[]) => void
  #parts: Buffer[] = []
  #length = 0
  #skip = 0
  #netstrings = 0

  constructor(complete: (parts: Buffer[]) => void) {
    this.#complete = complete
  }

  receive(chunk: Buffer): void {
    let begin = 0
    let at = 0
    while (at < chunk.length) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, chunk.length - at)
        at += step
        this.#skip -= step
        if (this.#skip > 0 || ++this.#netstrings < partsPerPackage) continue
        this.#parts.push(chunk.subarray(begin, at))
        this.#complete(this.#parts)
        this.#parts = []
        this.#netstrings = 0
        begin = at
        continue
      }
      const byte = chunk[at++] as number
      if (byte === colon) {
        // The bytes themselves and the closing comma.
        this.#skip = this.#length + 1
        this.#length = 0
      } else {
        this.#length = this.#length * 10 + byte - 0x30
      }
    }
    if (begin < chunk.length) this.#parts.push(chunk.subarray(begin))
  }
}

class GroupCommit {
  readonly #file: number
  #chunks: Buffer[] = []
  #owners: Socket[] = []
  #busy = false

  constructor(path: string) {
    this.#file = openSync(path, 'w')
  }

  add(parts: readonly Buffer[], owner: Socket): void {
    for (const part of parts) this.#chunks.push(part)
    this.#owners.push(owner)
    if (!this.#busy) {
      this.#busy = true
      setImmediate(() => this.#commit())
    }
  }

  #commit(): void {
    const chunks = this.#chunks
    const owners = this.#owners
    this.#chunks = []
    this.#owners = []
    writev(this.#file, chunks, (writeError) => {
      if (writeError !== null) throw writeError
      fdatasync(this.#file, (syncError) => {
        if (syncError !== null) throw syncError
        answer(owners)
        if (this.#owners.length > 0) this.#commit()
        else this.#busy = false
      })
    })
  }
}

function answer(owners: readonly Socket[]): void {
  const replies = new Map<Socket, number>()
  for (const owner of owners) replies.set(owner, (replies.get(owner) ?? 0) + 1)
  for (const [owner, count] of replies) owner.write(reply.repeat(count), 'latin1')
}

const commit = new GroupCommit(process.argv[2] ?? 'floor.data')
const server = createServer({ noDelay: true }, (socket) => {
  const cutter = new PackageCutter((parts) => commit.add(parts, socket))
  socket.on('data', (chunk: Buffer) => cutter.receive(chunk))
  socket.on('error', () => socket.destroy())
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  process.stdout.write(`${typeof address === 'object' && address !== null ? address.port : 0}\n`)
})
