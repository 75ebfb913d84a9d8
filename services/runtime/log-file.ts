/**
 * Where the log of one process is kept: appended as it comes, at most `fileBytesMax` per file and `filesMax` older ones
 * (`NAME.1` is the youngest). Writes are small and plain; a full disk loses log lines, never the caller. Where the next file
 * cannot be made, the open one goes on growing: a log past its size is better than none.
 */

import fs from 'node:fs'

interface LogFileLimits {
  readonly fileBytesMax: number
  readonly filesMax: number
}

const defaultLogFileLimits: LogFileLimits = { fileBytesMax: 16 * 1024 * 1024, filesMax: 5 }

export class LogFile {
  readonly #path: string
  readonly #limits: LogFileLimits
  #descriptor: number | undefined
  #bytes = 0

  constructor(path: string, limits: LogFileLimits = defaultLogFileLimits) {
    this.#path = path
    this.#limits = limits
  }

  append(bytes: Buffer): void {
    try {
      if (this.#descriptor === undefined) this.#open()
      if (this.#bytes > 0 && this.#bytes + bytes.length > this.#limits.fileBytesMax) this.#rotate()
      if (this.#descriptor !== undefined) this.#bytes += fs.writeSync(this.#descriptor, bytes)
    } catch {
      // Nobody is left to tell; the next line tries again.
    }
  }

  close(): void {
    if (this.#descriptor !== undefined) fs.closeSync(this.#descriptor)
    this.#descriptor = undefined
  }

  #open(): void {
    this.#descriptor = fs.openSync(this.#path, 'a', 0o600)
    this.#bytes = fs.fstatSync(this.#descriptor).size
  }

  #rotate(): void {
    const full = this.#descriptor
    try {
      // Somebody may have removed it under us; then the older ones stay where they are.
      if (fs.existsSync(this.#path)) this.#shift()
      this.#open()
    } catch {
      return
    }
    if (full !== undefined) fs.closeSync(full)
  }

  #shift(): void {
    for (let number = this.#limits.filesMax - 1; number >= 1; number--) {
      if (fs.existsSync(`${this.#path}.${number}`))
        fs.renameSync(`${this.#path}.${number}`, `${this.#path}.${number + 1}`)
    }
    fs.renameSync(this.#path, `${this.#path}.1`)
  }
}
