/**
 * Lines on a file descriptor, written behind the caller; what pino writes to.
 *
 * A reader that is slow or gone never stops a process: past `backlogBytesMax` lines are dropped, after any error but a full
 * pipe everything is, and `flush` gives up on a full pipe after `flushMsMax`. pino's own destination waits for ever in its
 * flush when the reader is gone, which is how a tier whose parent was killed would never end.
 */

import { write, writeSync } from 'node:fs'
import { errorCode } from '../protocol/failure.ts'

const retryMs = 10

interface LineWriterLimits {
  readonly backlogBytesMax: number
  readonly flushMsMax: number
}

export class LineWriter {
  readonly #descriptor: number
  readonly #limits: LineWriterLimits
  #waiting = ''
  #writing = Buffer.alloc(0)
  #busy = false
  #broken = false

  constructor(descriptor: number, limits: LineWriterLimits) {
    this.#descriptor = descriptor
    this.#limits = limits
  }

  write(line: string): void {
    if (this.#broken || this.#waiting.length + line.length > this.#limits.backlogBytesMax) return
    this.#waiting += line
    if (this.#busy) return
    this.#busy = true
    // Not at once: what is written and flushed in one turn, the last words, must not be lost in the thread pool.
    setImmediate(() => this.#writeOn())
  }

  /** Writes what is waiting before it returns, as far as the reader takes it. */
  flush(): void {
    let rest = Buffer.from(this.#waiting)
    this.#waiting = ''
    for (let waitedMs = 0; rest.length > 0 && !this.#broken && waitedMs < this.#limits.flushMsMax; ) {
      try {
        rest = rest.subarray(writeSync(this.#descriptor, rest))
      } catch (error) {
        if (errorCode(error) !== 'EAGAIN') this.#broken = true
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, retryMs)
        waitedMs += retryMs
      }
    }
  }

  #writeOn(): void {
    if (this.#writing.length === 0) {
      this.#writing = Buffer.from(this.#waiting)
      this.#waiting = ''
    }
    this.#busy = this.#writing.length > 0
    if (!this.#busy) return
    write(this.#descriptor, this.#writing, (error, bytes) => {
      if (error === null) {
        this.#writing = this.#writing.subarray(bytes)
        this.#writeOn()
      } else if (error.code === 'EAGAIN') {
        setTimeout(() => this.#writeOn(), retryMs).unref()
      } else {
        this.#broken = true
        this.#waiting = ''
        this.#writing = Buffer.alloc(0)
      }
    })
  }
}
